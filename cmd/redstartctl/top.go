package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/inspect"
)

const (
	topEvery = 2 * time.Second
	topLeast = 250 * time.Millisecond // least time between two frames
	topRows  = 100                    // groups and locks of one frame
	topBuses = 20
)

// topCommand returns the live view.
func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	var frames int
	var buses []string
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch groups and locks live, until Ctrl-C",
		Long: `Watch the groups of all durable buses and the locks with waiters, until Ctrl-C.

On a terminal, each frame replaces the one before. Elsewhere, each frame is plain text, and there is one frame
unless --frames says more. RATE is the change of LAG per second: above 0, the group does not keep up.`,
		Args: cobra.NoArgs,
		RunE: a.showing(func(ctx context.Context, in *inspect.Inspector, _ []string) error {
			if every < topLeast {
				return fmt.Errorf("top: --every is %v, the least is %v", every, topLeast)
			}
			t := top{app: a, in: in, every: every, frames: frames, buses: buses}
			return t.run(ctx)
		}),
	}
	cmd.Flags().DurationVar(&every, "every", topEvery, "time between two frames")
	cmd.Flags().IntVar(&frames, "frames", 0, "end after this many frames (default no limit on a terminal, else 1)")
	cmd.Flags().StringSliceVar(&buses, "bus", nil, "watch only these buses; saves the scan for their names")
	return cmd
}

// top is the state of the live view.
type top struct {
	app    *app
	in     *inspect.Inspector
	every  time.Duration
	frames int
	buses  []string

	last map[string]int64 // lag by bus and group
	seen time.Time        // when last was read
	text string           // the last frame that could be read
}

// run draws frames until ctx ends.
func (t *top) run(ctx context.Context) error {
	_, terminal := terminalSize(t.app.stdout)
	if t.frames == 0 && !terminal {
		t.frames = 1
	}
	if terminal && !t.app.json {
		fmt.Fprint(t.app.stdout, enterScreen)
		defer fmt.Fprint(t.app.stdout, leaveScreen)
	}
	ticker := time.NewTicker(t.every) // a slow frame drops ticks, so frames never queue up
	defer ticker.Stop()
	for n := 1; ; n++ {
		if err := t.frame(ctx, terminal); err != nil {
			return err
		}
		if n == t.frames {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// snapshot is the content of one frame.
type snapshot struct {
	Time   time.Time      `json:"time"`
	Groups []groupLine    `json:"groups"`
	Locks  []inspect.Lock `json:"locks"`
}

// groupLine is a group with its bus.
type groupLine struct {
	Bus string `json:"bus"`
	inspect.GroupInfo
	Rate *float64 `json:"rate,omitempty"` // change of the lag per second; not in the first frame
}

// frame reads and writes one frame. On a terminal, a failure is shown above the last frame.
func (t *top) frame(ctx context.Context, terminal bool) error {
	now, err := t.read(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C ends the view, and is no failure
	}
	if !terminal || t.app.json {
		if err != nil {
			return err
		}
		return t.app.print(now, func() error {
			_, err := fmt.Fprintln(t.app.stdout, t.render(now))
			return err
		})
	}

	text := t.text
	if err == nil {
		text = t.render(now)
		t.text = text
	} else {
		text = fmt.Sprintf("no answer, the state is of %s: %s\n%s", when(t.seen), printable(err.Error()), text)
	}
	to, _ := terminalSize(t.app.stdout)
	return draw(t.app.stdout, text, to)
}

// read returns the groups of the buses, the ones that lag most first, and the locks with waiters.
func (t *top) read(ctx context.Context) (s snapshot, err error) {
	s = snapshot{Time: time.Now(), Groups: []groupLine{}, Locks: []inspect.Lock{}}
	buses := t.buses
	if len(buses) == 0 {
		found, _, err := everyPage(topBuses, func(p inspect.Page) (inspect.List[inspect.BusInfo], error) {
			return t.in.Events().Buses(ctx, p)
		})
		if err != nil {
			return s, err
		}
		for _, b := range unique(found) {
			if b.Problem == "" {
				buses = append(buses, b.Name)
			}
		}
		slices.Sort(buses)
	}
	lags := map[string]int64{}
	for _, bus := range buses {
		groups, err := t.in.Events().Groups(ctx, bus, inspect.Page{Limit: topRows})
		if err != nil {
			return s, err
		}
		for _, g := range groups.Items {
			line, name := groupLine{Bus: bus, GroupInfo: g}, strconv.Quote(bus)+g.Name
			if before, known := t.last[name]; known {
				rate := float64(g.Lag-before) / s.Time.Sub(t.seen).Seconds()
				line.Rate = &rate
			}
			lags[name] = g.Lag
			s.Groups = append(s.Groups, line)
		}
	}
	slices.SortStableFunc(s.Groups, func(a, b groupLine) int { return cmp.Compare(b.Lag, a.Lag) })
	s.Groups = s.Groups[:min(len(s.Groups), topRows)]

	locks, err := t.in.Locks().List(ctx, inspect.Page{Limit: topRows})
	if err != nil {
		return s, err
	}
	s.Locks = append(s.Locks, locks.Items...)
	slices.SortStableFunc(s.Locks, func(a, b inspect.Lock) int { return cmp.Compare(b.Waiting, a.Waiting) })
	s.Locks = s.Locks[:min(len(s.Locks), topRows)]
	t.last, t.seen = lags, s.Time
	return s, nil
}

// render returns a frame as text.
func (t *top) render(s snapshot) string {
	var dead, lag int64
	for i := range s.Groups {
		dead += s.Groups[i].Dead
		lag += s.Groups[i].Lag
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "redstart top  %s  groups %d  lag %d  dead letters %d  locks %d\n", when(s.Time),
		len(s.Groups), lag, dead, len(s.Locks))

	rows := [][]string{{"BUS", "GROUP", "PROCESSES", "LAG", "RATE", "PENDING", "PARKED", "DEAD", "OLDEST", "STATE"}}
	for i := range s.Groups {
		g := &s.Groups[i]
		rate := "-"
		if g.Rate != nil {
			rate = fmt.Sprintf("%+.0f/s", *g.Rate)
		}
		rows = append(rows, []string{cell(g.Bus), cell(g.Name), strconv.Itoa(g.Processes), number(g.Lag), rate, number(g.Pending),
			number(g.Parked), number(g.Dead), age(g.Oldest), stateOf(&g.GroupInfo)})
	}
	section(&out, "\n", rows)
	section(&out, "\n", lockRows(s.Locks))
	return out.String()
}

// section writes a table behind a heading, unless it has only a head.
func section(out *bytes.Buffer, heading string, rows [][]string) {
	if len(rows) == 1 {
		return
	}
	out.WriteString(heading)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a bytes.Buffer never fails
}
