package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// describe returns what was measured on: machine, other load, versions.
func describe(m measurement) (string, error) {
	server, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("redis-server --version: %w", err)
	}
	list := exec.Command("go", append([]string{"list", "-m"}, compared...)...)
	list.Stderr = os.Stderr
	modules, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- Machine: %s. Clients and servers share it.\n", machine())
	if m.others.known {
		fmt.Fprintf(&b, "- Other load: %s\n", m.others)
	}
	fmt.Fprintf(&b, "- Versions: %s, Redis %s.\n", runtime.Version(), first(server, `v=(\S+)`))
	fmt.Fprintf(&b, "- Compared with:\n")
	for _, module := range strings.Split(strings.TrimSpace(string(modules)), "\n") {
		fmt.Fprintf(&b, "  - %s\n", module)
	}
	return b.String(), nil
}

// compared are the modules in the table.
var compared = []string{
	"github.com/ThreeDotsLabs/watermill-redisstream", "github.com/alexedwards/scs/v2",
	"github.com/bsm/redislock", "github.com/go-redis/cache/v9",
	"github.com/go-redis/redis_rate/v10", "github.com/go-redsync/redsync/v4", "github.com/maypok86/otter/v2",
	"github.com/redis/go-redis/v9",
	"github.com/redis/rueidis", "github.com/throttled/throttled/v2", "github.com/ulule/limiter/v3",
}

// machine returns processors, memory and operating system, as far as the system reports them.
func machine() string {
	processors := fmt.Sprintf("%d processors", runtime.NumCPU())
	if model := first(system("/proc/cpuinfo"), `model name\s*: (.+)`); model != "?" {
		processors += " (" + model + ")"
	}
	parts := []string{processors}
	if kB, err := strconv.ParseFloat(first(system("/proc/meminfo"), `MemTotal:\s*(\d+) kB`), 64); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GB of memory", kB*1024/1e9))
	}
	name := runtime.GOOS + "/" + runtime.GOARCH
	if release := first(system("/proc/sys/kernel/osrelease"), `^(\d+\.\d+)`); release != "?" {
		name += " " + release
	}
	return strings.Join(append(parts, name), ", ")
}

// system returns a file of the system, or nil on a system without it.
func system(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return content
}

// first returns the first group of the first match, or "?".
func first(text []byte, expression string) string {
	if found := regexp.MustCompile(expression).FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return "?"
}

// otherLoad is the part of the processor time that other processes used.
type otherLoad struct {
	known bool // the system reports it
	share float64
}

// busyShare is the share above which the machine is called busy.
const busyShare = 0.1

func (l otherLoad) String() string {
	if l.share > busyShare {
		return fmt.Sprintf("**the machine was busy**. Other processes used %.0f %% of the processor time, so times are longer "+
			"than on\n  a quiet machine. The ratios compare measurements of the same round.", 100*l.share)
	}
	return fmt.Sprintf("other processes used %.0f %% of the processor time.", 100*l.share)
}

// loadMeter measures the other load between its start and its end.
type loadMeter struct {
	before processorTime
	err    error
}

// processorTime is in seconds since the start of the system. own is the time of the processes that
// this process started and that have ended: the benchmarks and their servers.
type processorTime struct{ busy, all, own float64 }

func startLoad() loadMeter {
	t, err := readProcessorTime()
	return loadMeter{t, err}
}

func (m loadMeter) end() otherLoad {
	after, err := readProcessorTime()
	if m.err != nil || err != nil {
		return otherLoad{}
	}
	return m.before.until(after)
}

// until returns the other load between two times.
func (t processorTime) until(after processorTime) otherLoad {
	all := after.all - t.all
	if all <= 0 {
		return otherLoad{}
	}
	others := after.busy - t.busy - (after.own - t.own)
	return otherLoad{known: true, share: min(1, max(0, others/all))}
}

// errNoTimes is the error on a system without /proc/stat.
var errNoTimes = errors.New("unknown processor times")

func readProcessorTime() (t processorTime, err error) {
	if t, err = parseStat(string(system("/proc/stat"))); err != nil {
		return t, err
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var use syscall.Rusage
		if err := syscall.Getrusage(who, &use); err != nil {
			return t, err
		}
		t.own += float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
	}
	return t, nil
}

// parseStat reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and
// steal, in ticks of 10 ms. Guest time, which follows, is part of user and nice.
func parseStat(text string) (t processorTime, err error) {
	fields := strings.Fields(first([]byte(text), `^cpu +(.+)`))
	if len(fields) < 8 {
		return t, errNoTimes
	}
	for i, field := range fields[:8] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return t, errNoTimes
		}
		t.all += ticks
		if i != 3 && i != 4 {
			t.busy += ticks
		}
	}
	t.all, t.busy = t.all/100, t.busy/100
	return t, nil
}
