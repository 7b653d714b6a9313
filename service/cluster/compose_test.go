package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/containers"
)

func readCompose(t *testing.T) (file containers.Compose, redis, shops []string) {
	t.Helper()
	file, err := containers.ReadCompose("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, service := range file.Services {
		switch {
		case slices.Contains(service.Command, "redis-server"):
			redis = append(redis, name)
		case service.Build.Dockerfile != "":
			shops = append(shops, name)
		}
	}
	slices.Sort(redis)
	return file, redis, shops
}

// The compose file starts the same cluster as this command.
func TestComposeIsThisClusterInContainers(t *testing.T) {
	t.Parallel()
	file, redis, shops := readCompose(t)
	if len(shops) != instances {
		t.Errorf("%d shops, this command starts %d", len(shops), instances)
	}
	if len(redis) != primaries*(1+replicas) {
		t.Errorf("%d Redis nodes, this command starts %d", len(redis), primaries*(1+replicas))
	}
	creator := file.Services["redis-cluster"]
	for _, name := range redis {
		node := file.Services[name]
		for i := 0; i < len(settings); i += 2 {
			if at := slices.Index(node.Command, settings[i]); at < 0 || at+1 == len(node.Command) ||
				node.Command[at+1] != settings[i+1] {
				t.Errorf("%s runs %v, without %s %s", name, node.Command, settings[i], settings[i+1])
			}
		}
		if node.Image != creator.Image {
			t.Errorf("%s is %s, the creator of the cluster is %s", name, node.Image, creator.Image)
		}
		if creator.DependsOn[name].Condition != "service_healthy" || len(node.Healthcheck.Test) == 0 {
			t.Errorf("the cluster is created before %s is healthy", name)
		}
	}
	if want := fmt.Sprint("--cluster-replicas ", replicas,
		" "); !strings.Contains(file.Services["redis-cluster"].Command[len(creator.Command)-1], want) {
		t.Errorf("the cluster is not created with %s", want)
	}
}

// The script creates a cluster of six servers and does not change an existing one. It repairs a
// cluster whose nodes have new addresses. It fails if a node is missing or does not know the
// others.
func TestComposeScriptMakesACluster(t *testing.T) {
	t.Parallel()
	_, names, _ := readCompose(t)
	n := newNodes(t, names)
	n.start()
	n.script(true)
	made := n.agreed()
	n.ask(names[0], "SET", "kept", "yes")

	n.script(true)
	if again := n.agreed(); !maps.Equal(again, made) {
		t.Errorf("the second run changed the cluster from\n%v to\n%v", made, again)
	}

	n.end()
	n.start()
	n.script(true)
	if later := n.agreed(); !slices.Equal(slices.Sorted(maps.Keys(later)), slices.Sorted(maps.Keys(made))) {
		t.Errorf("after a restart the members are\n%v, before they were\n%v", later, made)
	}
	if got := n.ask(names[0], "GET", "kept"); got != "yes" {
		t.Errorf("a key that was set is %q after a restart", got)
	}

	n.end()
	n.start(names[len(names)-1])
	n.script(false)

	n.end()
	n.forget(1)
	n.start()
	n.script(false)
}

// nodes are servers with the names of the script. Their addresses in the script are 10.0.0.1:6379,
// 10.0.0.2:6379 and so on. The replacements of redis-cli and getent map them to ports of this
// machine.
type nodes struct {
	t       *testing.T
	dir     string
	names   []string
	ports   map[string]int
	running *group
}

const translate = `#!/bin/sh
# An address and its port are one argument, or two.
for word; do
	shift
	case $word in
	redis-*) set -- "$@" 127.0.0.1 -p "$(port "$word")" ;;
	10.0.0.*:6379) word=${word%:6379} && set -- "$@" "127.0.0.1:$(port "redis-${word#10.0.0.}")" ;;
	10.0.0.*) set -- "$@" 127.0.0.1 "$(port "redis-${word#10.0.0.}")" ;;
	6379) ;;
	*) set -- "$@" "$word" ;;
	esac
done
exec redis "$@"
`

const resolve = `#!/bin/sh
[ "$1" = ahostsv4 ] && [ "$2" = "redis-${2#redis-}" ] && port "$2" >/dev/null || exit 2
for kind in STREAM DGRAM RAW; do echo "10.0.0.${2#redis-}      $kind $2"; done
`

func newNodes(t *testing.T, names []string) *nodes {
	n := &nodes{t: t, dir: t.TempDir(), names: names, running: &group{}}
	t.Cleanup(n.end)
	// The programs that the script may use. The image has all of them.
	for name, program := range map[string]string{"redis": "redis-cli", "grep": "grep", "wc": "wc", "sleep": "sleep"} {
		found, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(errNoRedis, err)
		}
		if err := os.Symlink(found, filepath.Join(n.bin(), name)); err != nil {
			t.Fatal(err)
		}
	}
	n.write("redis-cli", translate)
	n.write("getent", resolve)
	return n
}

func (n *nodes) bin() string {
	bin := filepath.Join(n.dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		n.t.Fatal(err)
	}
	return bin
}

func (n *nodes) write(name, text string) {
	if err := os.WriteFile(filepath.Join(n.bin(), name), []byte(text), 0o700); err != nil {
		n.t.Fatal(err)
	}
}

// start starts the nodes that are not missing, on new ports.
func (n *nodes) start(missing ...string) {
	n.t.Helper()
	n.running = &group{}
	before := n.ports
	n.ports = map[string]int{}
	table := "#!/bin/sh\ncase $1 in\n"
	for i, name := range n.names {
		port, err := freePort()
		for ; err == nil && (slices.Contains(slices.Collect(maps.Values(before)), port) ||
			slices.Contains(slices.Collect(maps.Values(n.ports)), port)); port, err = freePort() {
		}
		if err != nil {
			n.t.Fatal(err)
		}
		n.ports[name] = port
		table += fmt.Sprintf("%s) echo %d ;;\n", name, port)
		if slices.Contains(missing, name) {
			continue
		}
		addr, err := startNode(n.running, n.dir, i, port, 30*time.Second)
		if err != nil {
			n.t.Fatal(err)
		}
		if err := answers(n.t.Context(), addr); err != nil {
			n.t.Fatal(err)
		}
	}
	n.write("port", table+"*) echo \"there is no $1\" >&2; exit 1 ;;\nesac\n")
}

// forget deletes the data of a node. The script waits for a cluster without success, and does not
// sleep in this test.
func (n *nodes) forget(number int) {
	n.t.Helper()
	idle, err := exec.LookPath("true")
	if err != nil {
		n.t.Fatal(err)
	}
	sleep := filepath.Join(n.bin(), "sleep")
	for _, err := range []error{
		os.Remove(filepath.Join(n.dir, fmt.Sprintf("nodes-%d.conf", number))),
		os.RemoveAll(filepath.Join(n.dir, fmt.Sprint("aof-", number))),
		os.Remove(sleep), os.Symlink(idle, sleep),
	} {
		if err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *nodes) end() {
	if err := n.running.end(); err != nil {
		n.t.Error(err)
	}
	n.running = &group{}
}

// script runs the script of the service redis-cluster.
func (n *nodes) script(ok bool) {
	n.t.Helper()
	file, _, _ := readCompose(n.t)
	command := file.Services["redis-cluster"].Command
	sh, err := exec.LookPath(command[0])
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, sh, command[1:]...)
	cmd.Env = []string{"PATH=" + n.bin()}
	cmd.WaitDelay = time.Second
	if said, err := cmd.CombinedOutput(); (err == nil) != ok {
		n.t.Fatalf("the script ended with %v:\n%s", err, said)
	}
}

// ask sends a command to the cluster through a node.
func (n *nodes) ask(name string, args ...string) string {
	n.t.Helper()
	said, err := exec.CommandContext(n.t.Context(), "redis-cli",
		append([]string{"-e", "-c", "-p", fmt.Sprint(n.ports[name])}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v of %s: %v\n%s", args, name, err, said)
	}
	return strings.TrimSpace(string(said))
}

// member is a node in the view of the cluster.
type member struct{ primary, slots string }

// agreed waits until all nodes have the same view of a whole cluster with the current addresses,
// and returns the members by id.
func (n *nodes) agreed() map[string]member {
	n.t.Helper()
	var all map[string]member
	var said string
	defer func() {
		if n.t.Failed() {
			n.t.Logf("one of them said last\n%s", said)
		}
	}()
	rig.Eventually(n.t, 30*time.Second, "the nodes are one whole cluster, and where each of them is now", func() bool {
		for i, name := range n.names {
			said = n.ask(name, "CLUSTER", "NODES")
			seen := n.members(said)
			if i == 0 {
				all = seen
			}
			if !whole(seen) || !maps.Equal(seen, all) {
				return false
			}
		}
		return true
	})
	return all
}

// members parses CLUSTER NODES. It omits nodes with old addresses.
func (n *nodes) members(said string) map[string]member {
	seen := map[string]member{}
	for line := range strings.Lines(said) {
		field := strings.Fields(line) // id address flags primary ping pong epoch link slots …
		here := slices.ContainsFunc(slices.Collect(maps.Values(n.ports)), func(port int) bool {
			return len(field) >= 8 && strings.HasPrefix(field[1], fmt.Sprintf("127.0.0.1:%d@", port))
		})
		if here && field[7] == "connected" {
			seen[field[0]] = member{field[3], strings.Join(field[8:], " ")}
		}
	}
	return seen
}

// whole reports whether three primaries have all slots and each has a replica.
func whole(seen map[string]member) bool {
	slots, replicated := 0, map[string]bool{}
	for _, m := range seen {
		if m.slots == "" {
			replicated[m.primary] = true
			continue
		}
		var first, last int
		if n, err := fmt.Sscanf(m.slots, "%d-%d", &first, &last); n != 2 || err != nil {
			return false
		}
		slots += last - first + 1
	}
	return len(seen) == primaries*(1+replicas) && len(replicated) == primaries && slots == 16384
}
