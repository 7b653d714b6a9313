package console

import (
	"context"
	"slices"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// limitsView is the content of the page Limits.
type limitsView struct {
	Limiter, Key name
	Asked        bool
	Shown        section[limitState]
	Limiters     section[limiterList]
	Pager        pager
	Keys         section[keyList]
	KeysPager    pager
	Back         string
}

type limiterList struct {
	Rows []limiterRow
	More more
}

type limiterRow struct {
	Name  name
	Local bool
}

type keyList struct {
	Rows []name
	More more
}

// limitState is the state of one key of a limiter.
type limitState struct {
	Answers []answerRow
	Counts  []countRow
	Held    int64
	First   time.Duration
}

// answerRow is what the next request would get by one set of rules.
type answerRow struct {
	Algorithm   string
	Level, Text string
	Rules       []ruleRow
}

type ruleRow struct {
	Name             name
	Limit, Remaining int64
	Next, Reset      time.Duration
}

type countRow struct {
	Algorithm, Size string
	TTL             time.Duration
	Problem         string
}

func (c *Console) limitsPage(ctx context.Context, req request) any {
	limiter, key := req.arg("limiter"), req.arg("key")
	v := limitsView{Limiter: nameOf(limiter), Key: nameOf(key), Asked: limiter != "" && key != "", Back: c.self("/limits", req)}
	limits := c.inspector.Limits()
	if v.Asked {
		v.Shown = load(ctx, &c.kept, "limit "+limiter+" "+key, func(ctx context.Context) (limitState, error) {
			l, err := limits.Show(ctx, limiter, key)
			return limitStateOf(&l), err
		})
	}
	if limiter != "" {
		from := req.arg("keys")
		v.Keys = loadAtMost(ctx, &c.kept, "keys "+limiter+" "+from, scanAge, func(ctx context.Context) (keyList, error) {
			list, err := limits.Keys(ctx, limiter, inspect.Page{Cursor: from})
			rows := keyList{More: moreOf(list.Next, list.Scanned, list.Complete)}
			slices.Sort(list.Items)
			for _, key := range slices.Compact(list.Items) { // a key with charges and permits occurs twice
				rows.Rows = append(rows.Rows, nameOf(key))
			}
			return rows, err
		})
		v.KeysPager = c.pagerOf("/limits", "keys", req, v.Keys.Value.More)
	}

	cursor := req.arg("cursor")
	v.Limiters = loadAtMost(ctx, &c.kept, "limiters "+cursor, scanAge, func(ctx context.Context) (limiterList, error) {
		list, err := limits.List(ctx, inspect.Page{Cursor: cursor})
		rows := limiterList{More: moreOf(list.Next, list.Scanned, list.Complete)}
		for _, l := range list.Items {
			rows.Rows = append(rows.Rows, limiterRow{nameOf(l.Name), l.Local > 0})
		}
		return rows, err
	})
	v.Pager = c.pager("/limits", req, v.Limiters.Value.More)
	return v
}

func limitStateOf(l *inspect.Limit) limitState {
	s := limitState{Held: l.Permits.Held, First: time.Duration(l.Permits.First)}
	for i := range l.Answers {
		a := &l.Answers[i]
		row := answerRow{Algorithm: a.Algorithm, Level: "good", Text: "The next request is allowed."}
		switch {
		case a.Never:
			row.Level, row.Text = "critical", "Each request is refused: the limit of rule "+printable(a.Rule, maxShown)+" is 0."
		case !a.Allowed:
			row.Level = "warning"
			row.Text = "The next request is refused by rule " + printable(a.Rule, maxShown) + ". Retry after " +
				span(time.Duration(a.RetryAfter)) + "."
		}
		for _, r := range a.Rules {
			row.Rules = append(row.Rules, ruleRow{
				nameOf(r.Name), r.Limit, r.Remaining, time.Duration(r.NextAfter), time.Duration(r.ResetAfter),
			})
		}
		s.Answers = append(s.Answers, row)
	}
	for _, n := range l.Counts {
		s.Counts = append(s.Counts, countRow{n.Algorithm, size(n.Bytes), time.Duration(n.TTLLeft), printable(n.Problem, maxShown)})
	}
	return s
}

// limitOf reads the limiter and the key of a form.
func limitOf(f form) (limiter, key string, err error) {
	err = f.names(map[string]*string{"limiter": &limiter, "key": &key})
	return limiter, key, err
}

func resetLimit(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	limiter, key, err := limitOf(f)
	if err != nil {
		return 0, err
	}
	return in.Limits().Reset(ctx, limiter, key)
}

func endPermits(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	limiter, key, err := limitOf(f)
	if err != nil {
		return 0, err
	}
	return one(in.Limits().EndPermits(ctx, limiter, key))
}
