package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// eventsView is the content of the page Events.
type eventsView struct {
	Buses  section[busList]
	Rest   pager // of the list of buses
	Bus    name
	Defect string // what is wrong with the keys of the bus
	Groups section[groupList]
	Pager  pager
	Group  groupView
	Latest section[eventList]
	Back   string
}

type busList struct {
	Tabs []busTab
	More more
}

type busTab struct {
	Name    name
	Problem string
}

type groupList struct {
	Rows []groupRow
	More more
}

// groupRow is a consumer group. State is "running", "paused" or "no process".
type groupRow struct {
	Name                                name
	Processes                           int
	Lag, Pending, Parked, Delayed, Dead int64
	Oldest                              time.Duration
	Seen, PausedSince                   time.Time
	Spark                               chart
	Problem                             string // which part of the group could not be read
}

type eventList struct {
	Rows     []eventRow
	Problems []string // the partitions that could not be read
}

// eventRow is a stored event.
type eventRow struct {
	Partition, Bytes            int
	Position, Channel, Type, ID name
	Time                        time.Time
	Problem, Data               string
}

// State returns the state of the group in words.
func (g groupRow) State() string {
	switch {
	case !g.PausedSince.IsZero():
		return "paused"
	case g.Processes == 0:
		return "no process"
	}
	return "running"
}

// Level returns the level of the group for its mark.
func (g groupRow) Level() string {
	switch {
	case g.Processes == 0 && g.Lag > 0:
		return "critical"
	case !g.PausedSince.IsZero() || g.Processes == 0 || g.Problem != "":
		return "warning"
	}
	return "good"
}

func (c *Console) eventsPage(ctx context.Context, req request) any {
	v := eventsView{Back: c.self("/events", req)}
	from := req.arg("buses")
	v.Buses = loadAtMost(ctx, &c.kept, "buses "+from, scanAge, func(ctx context.Context) (busList, error) {
		return c.readBuses(ctx, from)
	})
	v.Rest = c.pagerOf("/events", "buses", req, v.Buses.Value.More)
	bus := req.arg("bus")
	for _, tab := range v.Buses.Value.Tabs {
		if bus == "" {
			bus = tab.Name.Raw // the first that a link can name
		}
		if bus != "" && tab.Name.Raw == bus {
			v.Defect = tab.Problem
		}
	}
	if v.Bus = nameOf(bus); bus == "" {
		return v
	}

	cursor := req.arg("cursor")
	v.Groups = load(ctx, &c.kept, "groups "+bus+" "+cursor, func(ctx context.Context) (groupList, error) {
		return c.readGroups(ctx, bus, cursor)
	})
	v.Pager = c.pager("/events", req, v.Groups.Value.More)
	if group := req.arg("group"); group != "" {
		v.Group = c.groupView(ctx, req, bus, group)
		return v
	}
	v.Latest = load(ctx, &c.kept, "latest "+bus, func(ctx context.Context) (eventList, error) {
		list, err := c.inspector.Events().Peek(ctx, bus, inspect.PeekOptions{}, inspect.Page{Limit: latestEvents})
		latest := eventList{}
		for _, problem := range list.Problems {
			latest.Problems = append(latest.Problems, printable(problem, maxShown))
		}
		for i := range list.Items {
			latest.Rows = append(latest.Rows, eventRowOf(&list.Items[i]))
		}
		return latest, err
	})
	return v
}

// Lists of names come from a scan of all keys, so they are read less often than the rest.
const (
	scanAge      = 15 * time.Second
	latestEvents = 20
)

// readBuses returns a part of the buses, and the buses of this process: a scan of many keys finds a
// bus late.
func (c *Console) readBuses(ctx context.Context, cursor string) (busList, error) {
	list, err := c.inspector.Events().Buses(ctx, inspect.Page{Cursor: cursor})
	buses := busList{More: moreOf(list.Next, list.Scanned, list.Complete)}
	seen := make(map[string]bool)
	add := func(bus, problem string) {
		if !seen[bus] && len(buses.Tabs) < maxBuses {
			seen[bus] = true
			buses.Tabs = append(buses.Tabs, busTab{nameOf(bus), printable(problem, maxShown)})
		}
	}
	for _, b := range list.Items {
		add(b.Name, b.Problem)
	}
	for m := range c.client.Metrics() {
		if m.Name == "redstart.events.published" && len(m.Labels) > 1 && m.Labels[1].Value == "durable" {
			add(m.Labels[0].Value, "")
		}
	}
	slices.SortFunc(buses.Tabs, func(a, b busTab) int { return strings.Compare(a.Name.Text, b.Name.Text) })
	return buses, err
}

// maxBuses is the number of buses that one page names.
const maxBuses = 200

func (c *Console) readGroups(ctx context.Context, bus, cursor string) (groupList, error) {
	list, err := c.inspector.Events().Groups(ctx, bus, inspect.Page{Cursor: cursor})
	if err != nil {
		return groupList{}, err
	}
	rows := groupList{More: moreOf(list.Next, list.Scanned, list.Complete)}
	now := time.Now()
	for i := range list.Items {
		rows.Rows = append(rows.Rows, c.groupRow(now, bus, &list.Items[i]))
	}
	return rows, nil
}

// groupRow converts a group, and adds its lag to the plot.
func (c *Console) groupRow(now time.Time, bus string, g *inspect.GroupInfo) groupRow {
	return groupRow{
		Name: nameOf(g.Name), Processes: g.Processes, Lag: g.Lag, Pending: g.Pending, Parked: g.Parked, Delayed: g.Delayed,
		Dead: g.Dead, Oldest: time.Duration(g.Oldest), Seen: g.Seen, PausedSince: g.PausedSince,
		Spark: c.lags.add(now, bus, g), Problem: printable(g.Problem, maxFinding),
	}
}

func eventRowOf(e *inspect.EventInfo) eventRow {
	return eventRow{
		Partition: e.Partition, Bytes: e.Bytes, Position: nameOf(e.Position), Channel: nameOf(e.Channel), Type: nameOf(e.Type),
		ID: nameOf(e.ID), Time: e.Time, Problem: printable(e.Problem, maxShown), Data: printable(string(e.Data), maxData),
	}
}

// maxData is the limit of a value or of the data of an event on a page, in characters.
const maxData = 16 << 10
