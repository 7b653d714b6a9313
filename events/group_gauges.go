package events

import (
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// maxGauged is how many groups without a process have gauges, the first ones by name. Fewer have
// gauges if that would take more than maxGaugedScripts.
const (
	maxGauged        = 100
	maxGaugedScripts = 4096
)

// look reads the states of groups that no process runs, for their gauges. Running groups report
// their own.
func (j *janitor) look(ctx context.Context) error {
	names, err := j.d.groupNames(ctx, "", maxPage)
	if err != nil {
		return err
	}
	var still []string
	most := min(maxGauged, max(maxGaugedScripts/len(j.d.parts), 1))
	for len(names) > 0 {
		some := names[:min(len(names), maxPipeline)]
		names = names[len(some):]
		cmds := []core.Command{core.ReadAt(j.d.meta, "TIME")}
		for _, name := range some {
			cmds = append(cmds, core.Read("ZRANGE", j.d.membersKey(name), "-1", "-1", "WITHSCORES"))
		}
		replies := j.d.core.DoMulti(ctx, cmds...)
		clock, err := replies[0].Get()
		if err != nil {
			return err
		}
		now, err := clock.AsIntSlice()
		if err != nil || len(now) == 0 {
			return unexpected("the time", err)
		}
		for i, name := range some {
			msg, err := replies[i+1].Get()
			if err != nil {
				return err
			}
			last, err := msg.AsZScores()
			if err != nil {
				return unexpected("members", err)
			}
			if (len(last) == 0 || last[0].Score <= float64(now[0]*1000)) && len(still) < most {
				still = append(still, name)
			}
		}
	}
	all, err := groupsOf(j.d.describe(ctx, still, j.d.groupCall))
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.still, j.looked = all, j.d.core.Time().Now()
	return nil
}

// stillGroups returns the groups without a process and the time of the last look, if that was
// recent.
func (j *janitor) stillGroups() ([]Group, time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.d.core.Time().Since(j.looked) > 2*j.period() {
		return nil, time.Time{}
	}
	return j.still, j.looked
}

// elected reports whether this process makes the pass. The process that made the last pass makes
// the next; after its death any other does. If the server cannot answer, this process makes the
// pass: other partitions may be healthy.
func (j *janitor) elected(ctx context.Context) bool {
	key, ttl := j.d.space.Sibling("bus", "janitor"), strconv.FormatInt((2*j.period()).Milliseconds(), 10)
	msg, err := j.d.core.Do(ctx, core.Write("SET", key, j.token, "NX", "PX", ttl))
	if err != nil || !msg.IsNil() {
		return true
	}
	if msg, err = j.d.core.Do(ctx, core.Read("GET", key)); err != nil {
		return true
	}
	holder, err := msg.ToString()
	if err != nil || holder != j.token {
		return false
	}
	_, err = j.d.core.Do(ctx, core.Write("PEXPIRE", key, ttl))
	j.trouble("events: the janitor's lease was not renewed", err)
	return true
}
