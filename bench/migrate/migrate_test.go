// Package migrate_test has the code of docs/migrate: the calls of another library and those of
// Redstart. It is compiled and not run.
package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/alexedwards/scs/v2"
	"github.com/bsm/redislock"
	gocache "github.com/go-redis/cache/v9"
	"github.com/go-redis/redis_rate/v10"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

type User struct{ Name string }

var (
	ctx    = context.Background()
	rdb    *redis.Client
	client *redstart.Client
	mux    = http.NewServeMux()
)

func queryUser(context.Context, string) (User, error) { return User{}, cache.ErrNotFound }
func work(context.Context) error                      { return nil }
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example_cacheBefore() {
	users := gocache.New(&gocache.Options{
		Redis:      rdb,
		LocalCache: gocache.NewTinyLFU(10_000, time.Minute),
	})

	var user User
	err := users.Once(&gocache.Item{
		Ctx: ctx, Key: "user:1", Value: &user, TTL: 5 * time.Minute,
		Do: func(item *gocache.Item) (any, error) { return queryUser(item.Ctx, "1") },
	})
	check(err)

	err = users.Set(&gocache.Item{Ctx: ctx, Key: "user:1", Value: user, TTL: 5 * time.Minute})
	check(err)
	err = users.Get(ctx, "user:1", &user)
	fmt.Println(errors.Is(err, gocache.ErrCacheMiss))
	err = users.Delete(ctx, "user:1")
	check(err)
}

func Example_cacheAfter() {
	users, err := cache.New[User](client, "user", cache.Options{
		TTL:  5 * time.Minute,
		Near: cache.NearOptions{MaxEntries: 10_000, TTL: time.Minute},
	})
	check(err)

	user, err := users.GetOrLoad(ctx, "1", queryUser)
	check(err)

	err = users.Set(ctx, "1", user)
	check(err)
	user, err = users.Get(ctx, "1")
	fmt.Println(user, errors.Is(err, cache.ErrNotFound))
	err = users.Delete(ctx, "1")
	check(err)
}

func Example_redislockBefore() {
	locker := redislock.New(rdb)
	held, err := locker.Obtain(ctx, "report", 10*time.Second, &redislock.Options{
		RetryStrategy: redislock.LimitRetry(redislock.LinearBackoff(100*time.Millisecond), 50),
	})
	if errors.Is(err, redislock.ErrNotObtained) {
		return
	}
	check(err)
	defer held.Release(ctx)

	check(work(ctx))
	check(held.Refresh(ctx, 10*time.Second, nil))
	check(work(ctx))
}

func Example_redsyncBefore() {
	locker := redsync.New(goredis.NewPool(rdb))
	mutex := locker.NewMutex("report", redsync.WithExpiry(10*time.Second), redsync.WithTries(50))
	if err := mutex.LockContext(ctx); err != nil {
		return
	}
	defer mutex.UnlockContext(ctx)

	check(work(ctx))
	if ok, err := mutex.ExtendContext(ctx); !ok || err != nil {
		return
	}
	check(work(ctx))
}

func Example_lockAfter() {
	locker, err := lock.New(client, lock.Options{TTL: 10 * time.Second, Wait: 5 * time.Second})
	check(err)
	err = locker.Do(ctx, "report", func(ctx context.Context, held *lock.Lock) error {
		return errors.Join(work(ctx), work(ctx)) // renewed in the background; ctx ends when the lock is lost
	})
	if errors.Is(err, lock.ErrNotAcquired) {
		return
	}
	check(err)
}

func Example_rateBefore() {
	limiter := redis_rate.NewLimiter(rdb)
	result, err := limiter.Allow(ctx, "user:1", redis_rate.PerMinute(100))
	check(err)
	if result.Allowed == 0 {
		fmt.Println("try again in", result.RetryAfter)
	}
	check(limiter.Reset(ctx, "user:1"))
}

func Example_rateAfter() {
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{
		Rules:  []ratelimit.Rule{ratelimit.PerMinute(100)},
		Outage: ratelimit.FailClosed, // as before: an outage is an error
	})
	check(err)
	result, err := limiter.Allow(ctx, "user:1")
	check(err)
	if !result.Allowed {
		fmt.Println("try again in", result.RetryAfter)
	}
	check(limiter.Reset(ctx, "user:1"))
}

func Example_scsStore() {
	store, err := session.NewStore(client, "scs", session.StoreOptions{})
	check(err)
	sessions := scs.New()
	sessions.Store = store // all other code stays as it is
	_ = http.ListenAndServe(":8080", sessions.LoadAndSave(mux))
}

func Example_scsBefore() {
	sessions := scs.New()
	sessions.Lifetime = 24 * time.Hour

	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		check(sessions.RenewToken(r.Context()))
		sessions.Put(r.Context(), "user", "ada")
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		check(sessions.Destroy(r.Context()))
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, sessions.GetString(r.Context(), "user"))
	})
	_ = http.ListenAndServe(":8080", sessions.LoadAndSave(mux))
}

func Example_scsAfter() {
	sessions, err := session.New[User](client, "web", session.Options{Lifetime: 24 * time.Hour})
	check(err)

	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		check(sessions.Login(r.Context(), "ada", session.DeviceOf(r)))
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		check(sessions.Destroy(r.Context()))
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, sessions.FromContext(r.Context()).User())
	})
	_ = http.ListenAndServe(":8080", sessions.Middleware(mux))
}

func Example_watermillBefore() {
	logger := watermill.NopLogger{}
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: rdb}, logger)
	check(err)
	subscriber, err := redisstream.NewSubscriber(
		redisstream.SubscriberConfig{Client: rdb, ConsumerGroup: "mail"}, logger)
	check(err)

	messages, err := subscriber.Subscribe(ctx, "orders")
	check(err)
	go func() {
		for msg := range messages {
			if work(msg.Context()) != nil {
				msg.Nack()
				continue
			}
			msg.Ack()
		}
	}()
	check(publisher.Publish("orders", message.NewMessage(watermill.NewUUID(), []byte(`{"id":"o1"}`))))
}

func Example_watermillAfter() {
	type Order struct{ ID string }
	paid := events.NewTopic[Order]("order.paid")
	bus, err := events.NewDurable(client, "orders", events.DurableOptions{})
	check(err)

	sub, err := bus.Subscriber("mail", events.SubscriberOptions{Start: events.FromBeginning()})
	check(err)
	check(paid.Handle(sub, "orders:*", func(ctx context.Context, e events.Event[Order]) error {
		return work(ctx) // nil acknowledges; an error is tried again
	}))
	go func() { check(sub.Run(ctx)) }()
	check(paid.Publish(ctx, bus, "orders:o1", Order{ID: "o1"}))
}

func Example_asynqAfter() {
	welcome := events.NewTopic[User]("mail.welcome")
	bus, err := events.NewDurable(client, "mails", events.DurableOptions{})
	check(err)

	// client.Enqueue(asynq.NewTask("mail:welcome", payload), asynq.ProcessIn(time.Hour),
	// asynq.TaskID("welcome-1"))
	err = welcome.Publish(ctx, bus, "users:1", User{Name: "Ada"}, events.Delay(time.Hour), events.ID("welcome-1"))
	check(err)

	// srv := asynq.NewServer(redisOpt, asynq.Config{Concurrency: 10}); srv.Run(mux)
	sub, err := bus.Subscriber("mailer", events.SubscriberOptions{Concurrency: 10, MaxAttempts: 25})
	check(err)
	check(welcome.Handle(sub, "users:*", func(ctx context.Context, e events.Event[User]) error { return work(ctx) }))
	check(sub.Run(ctx))
}
