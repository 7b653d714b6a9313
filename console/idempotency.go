package console

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
)

// idempotencyView is the content of the page Idempotency.
type idempotencyView struct {
	Executor, Scope, Key name
	Asked                bool
	Shown                section[idempotencyState]
	Values               bool // the reader may see the stored response
	ValueURL             string
	Value                section[cachedValue]
	Back                 string
}

// idempotencyState is what a request with the key would get.
type idempotencyState struct {
	Level, Text string
	Facts       []fact
	Stored      bool // a response is stored
	Forgettable bool
}

func (c *Console) idempotencyPage(ctx context.Context, req request) any {
	id := inspect.IdempotencyID{Executor: req.arg("executor"), Scope: req.arg("scope"), Key: req.arg("key")}
	v := idempotencyView{
		Executor: nameOf(id.Executor), Scope: nameOf(id.Scope), Key: nameOf(id.Key), Asked: id.Executor != "" && id.Key != "",
		Back: c.without("/idempotency", req, "value"), Values: c.opt.Mask == MaskNone && req.role >= Operator,
	}
	if !v.Asked {
		return v
	}
	records := c.inspector.Idempotency()
	v.Shown = load(ctx, &c.kept, "idempotency "+v.Back, func(ctx context.Context) (idempotencyState, error) {
		r, err := records.Show(ctx, id)
		if errors.Is(err, inspect.ErrNotFound) {
			return idempotencyState{Level: "none", Text: "The key is free: a request with it is executed."}, nil
		}
		return idempotencyStateOf(&r), err
	})
	if v.Values && v.Shown.Value.Stored {
		v.ValueURL = c.with("/idempotency", req, "value", "show")
	}
	if v.Values && req.arg("value") != "" {
		v.Value = load(ctx, &kept{}, "", func(ctx context.Context) (cachedValue, error) {
			r, err := records.Result(ctx, id)
			switch {
			case errors.Is(err, inspect.ErrNotFound):
				return cachedValue{}, errors.New("no response is stored")
			case errors.Is(err, redstart.ErrTooLarge):
				return cachedValue{}, errors.New("the response has more than 1 MiB: read it with redstartctl idempotency show")
			}
			text := r.Header + "\r\n" + string(r.Body)
			return cachedValue{printable(text, maxData), len(text)}, err
		})
	}
	return v
}

func idempotencyStateOf(r *inspect.IdempotencyRecord) idempotencyState {
	s := idempotencyState{Level: "good", Text: "Finished: a repeated request gets the stored response.", Forgettable: r.State != "running"}
	left := "Free in"
	switch {
	case r.Problem != "":
		return idempotencyState{Level: "warning", Text: printable(r.Problem, maxFinding)}
	case r.State == "running":
		left = "Lease left"
		s.Level, s.Text = "warning", "Running: an execution holds the lease. A repeated request is refused until it ends."
	case r.State == "finished":
		s.Stored = true
		s.Facts = append(s.Facts, fact{"Status", grouped(int64(r.Status))}, fact{"Header", size(r.HeaderBytes)},
			fact{"Body", size(r.BodyBytes)})
	default:
		s.Level, s.Text = "warning", "Not repeatable: the request was executed, and its response is not stored."
	}
	ttl := "never: the value has no TTL"
	if r.TTLLeft > 0 {
		ttl = span(time.Duration(r.TTLLeft).Truncate(time.Second))
	}
	s.Facts = append(s.Facts, fact{left, ttl})
	return s
}

// forgetKey deletes the result of one request.
func forgetKey(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	var id inspect.IdempotencyID
	if err := f.names(map[string]*string{"executor": &id.Executor, "scope": &id.Scope, "key": &id.Key}); err != nil {
		return 0, err
	}
	return one(in.Idempotency().Forget(ctx, id))
}
