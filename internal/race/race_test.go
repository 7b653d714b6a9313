package race_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/race"
)

func TestFirstAsksOneAfterTheOther(t *testing.T) {
	t.Parallel()
	frozen := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	failed := errors.New("refused")
	for name, test := range map[string]struct {
		ask   []func(ctx context.Context) (int, error)
		want  int
		err   error
		took  time.Duration
		asked int
	}{
		"the first answers": {[]func(context.Context) (int, error){answer(1), answer(2)}, 1, nil, 0, 1},
		"the first fails":   {[]func(context.Context) (int, error){refuse(failed), answer(2), answer(3)}, 2, nil, 0, 2},
		"two are frozen": {[]func(context.Context) (int, error){frozen, frozen, answer(3), answer(4)}, 3,
			nil, 2 * race.Stagger, 3},
		"all fail":       {[]func(context.Context) (int, error){refuse(failed), refuse(failed)}, 0, failed, 0, 2},
		"all are frozen": {[]func(context.Context) (int, error){frozen, frozen}, 0, context.DeadlineExceeded, time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var asked, ended atomic.Int64
				began := time.Now()
				got, err := race.First(ctx, len(test.ask), func(ctx context.Context, i int) (int, error) {
					asked.Add(1)
					defer ended.Add(1)
					return test.ask[i](ctx)
				})
				if got != test.want || !errors.Is(err, test.err) || time.Since(began) != test.took {
					t.Errorf("%d, %v after %v, want %d, %v after %v", got, err, time.Since(began), test.want, test.err, test.took)
				}
				if n := []int64{asked.Load(), ended.Load()}; !slices.Equal(n, []int64{int64(test.asked), int64(test.asked)}) {
					t.Errorf("asked and ended: %v, want %d", n, test.asked)
				}
			})
		})
	}
}

func answer(n int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return n, nil }
}

func refuse(err error) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return 0, err }
}
