package lock_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/lock"
)

// server starts an in-process server, so that the examples run everywhere. A service opens its real
// server with redstart.ConfigFromEnv.
func server(ctx context.Context) (*redstart.Client, func()) {
	s, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: s.URL()})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() { client.Close(); s.Close() }
}

func Example() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()

	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	err = locker.Do(ctx, "invoice:42", func(ctx context.Context, held *lock.Lock) error {
		fmt.Println("only this process sends invoice 42 now")
		return ctx.Err() // the context ends when the lock is lost
	})
	fmt.Println(err)
	// Output:
	// only this process sends invoice 42 now
	// <nil>
}

func ExampleLocker_TryAcquire() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}

	held, err := locker.TryAcquire(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	_, err = locker.TryAcquire(ctx, "nightly-report")
	fmt.Println(errors.Is(err, lock.ErrNotAcquired))
	fmt.Println(held.Release(ctx))
	// Output:
	// true
	// <nil>
}

func ExampleLocker_Semaphore() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	semaphore, err := locker.Semaphore("smtp-connections", 3)
	if err != nil {
		log.Fatal(err)
	}
	err = semaphore.Do(ctx, func(ctx context.Context, held *lock.Lock) error {
		fmt.Println("one of at most three, in the whole fleet")
		return nil
	})
	fmt.Println(err)
	// Output:
	// one of at most three, in the whole fleet
	// <nil>
}

func ExampleLocker_All() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()
	locker, err := lock.New(client, lock.Options{Group: "accounts"})
	if err != nil {
		log.Fatal(err)
	}
	both, err := locker.All("alice", "bob")
	if err != nil {
		log.Fatal(err)
	}
	err = both.Do(ctx, func(ctx context.Context, held *lock.Lock) error {
		fmt.Println("from alice to bob")
		return nil
	})
	fmt.Println(err)
	// Output:
	// from alice to bob
	// <nil>
}

func ExampleElection_Campaign() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	election, err := locker.Election("scheduler")
	if err != nil {
		log.Fatal(err)
	}
	err = election.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
		fmt.Println("leading, with a term that no earlier leader had:", held.Token() > 0)
		return nil // the work is done; a real leader works until ctx ends
	})
	fmt.Println(err)
	// Output:
	// leading, with a term that no earlier leader had: true
	// <nil>
}

func ExampleLocker_FencedSet() {
	ctx := context.Background()
	client, stop := server(ctx)
	defer stop()
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	old, _ := locker.TryAcquire(ctx, "prices")
	old.Release(ctx) // released, or lost before the holder noticed
	now, _ := locker.TryAcquire(ctx, "prices")
	defer now.Release(ctx)

	fmt.Println(locker.FencedSet(ctx, now, "prices", []byte("new"), time.Hour))
	err = locker.FencedSet(ctx, old, "prices", []byte("late"), time.Hour)
	fmt.Println(errors.Is(err, lock.ErrLost))
	value, _, err := locker.FencedGet(ctx, "prices")
	fmt.Println(string(value), err)
	// Output:
	// <nil>
	// true
	// new <nil>
}

// The database compares the tokens in the UPDATE. A holder that was paused past its lease changes
// no row. The table has a column fence BIGINT NOT NULL DEFAULT 0.
func ExampleFencedExec() {
	settle := func(ctx context.Context, locker *lock.Locker, db *sql.DB, account string, balance int64) error {
		return locker.Do(ctx, "account:"+account, func(ctx context.Context, held *lock.Lock) error {
			return lock.FencedExec(ctx, db,
				"UPDATE account SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2",
				balance, held.Token(), account)
		})
	}
	_ = settle
}
