package demo

import (
	"context"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
)

func openPeople(client *redstart.Client) (*cache.Cache[Person], error) {
	return cache.New[Person](client, "people", cache.Options{
		TTL:  5 * time.Minute,
		Near: cache.NearOptions{MaxEntries: 1000}, // copies in the memory of this instance
	})
}

func (i *instance) read(ctx context.Context, id string, opts ...cache.CallOption) (Person, error) {
	return i.people.GetOrLoad(ctx, id, i.database.load, opts...) // one load in all instances
}

func (i *instance) rename(ctx context.Context, id, name string) error {
	if err := i.database.save(ctx, id, name); err != nil {
		return err
	}
	return i.people.Delete(ctx, id) // ends the copies in Redis and in all instances
}
