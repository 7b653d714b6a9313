package demo

import (
	"context"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
)

func openPeople(client *redstart.Client) (*cache.Cache[Person], error) {
	return cache.New[Person](client, "people", cache.Options{
		TTL: 5 * time.Minute,
		// Copies in the memory of this instance.
		Near: cache.NearOptions{MaxEntries: 1000},
	})
}

func (i *instance) read(
	ctx context.Context, id string, opts ...cache.CallOption,
) (Person, error) {
	// One load runs in all instances.
	return i.people.GetOrLoad(ctx, id, i.database.load, opts...)
}

func (i *instance) rename(ctx context.Context, id, name string) error {
	if err := i.database.save(ctx, id, name); err != nil {
		return err
	}
	// This ends the copies in Redis and in all instances.
	return i.people.Delete(ctx, id)
}
