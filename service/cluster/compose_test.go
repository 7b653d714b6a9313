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

// The compose file starts what this command starts.
func TestComposeIsThisClusterInContainers(t *testing.T) {
	t.Parallel()
	file, redis, shops := readCompose(t)
	if len(shops) != instances {
		t.Errorf("%d shops, here they are %d", len(shops), instances)
	}
	if len(redis) != primaries*(1+replicas) {
		t.Errorf("%d Redis nodes, here they are %d", len(redis), primaries*(1+replicas))
	}
	creator := file.Services["redis-cluster"]
	for _, name := range redis {
		node := file.Services[name]
		for i := 0; i < len(settings); i += 2 {
			if at := slices.Index(node.Command, settings[i]); at < 0 || at+1 == len(node.Command) || node.Command[at+1] != settings[i+1] {
				t.Errorf("%s runs %v, without %s %s", name, node.Command, settings[i], settings[i+1])
			}
		}
		if node.Image != creator.Image {
			t.Errorf("%s is %s, what makes the cluster is %s", name, node.Image, creator.Image)
		}
		if creator.DependsOn[name].Condition != "service_healthy" || len(node.Healthcheck.Test) == 0 {
			t.Errorf("the cluster is made before %s is healthy", name)
		}
	}
	if want := fmt.Sprint("--cluster-replicas ", replicas, " "); !strings.Contains(file.Services["redis-cluster"].Command[len(creator.Command)-1], want) {
		t.Errorf("the cluster is not made with %s", want)
	}
}

// The script that makes the cluster runs on six servers: it makes one of them, leaves it alone when it stands, brings it together
// again when all nodes have other addresses than they remember, and fails when a node is missing or knows nothing of the others.
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
		t.Errorf("the second run made\n%v of\n%v", again, made)
	}

	n.end()
	n.start()
	n.script(true)
	if later := n.agreed(); !slices.Equal(slices.Sorted(maps.Keys(later)), slices.Sorted(maps.Keys(made))) {
		t.Errorf("after a restart they are\n%v, were\n%v", later, made)
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

// nodes are servers by the names that the script knows them by. To it they are at 10.0.0.1:6379, 10.0.0.2:6379 …; what it runs as
// redis-cli and getent leads from there to ports of this machine.
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
	// All that the script may use: each is in the image.
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

// start starts the nodes, but for those that are missing, on ports that they have not had.
func (n *nodes) start(missing ...string) {
	n.t.Helper()
	n.running = &group{}
	before := n.ports
	n.ports = map[string]int{}
	table := "#!/bin/sh\ncase $1 in\n"
	for i, name := range n.names {
		port, err := freePort()
		for ; err == nil && (slices.Contains(slices.Collect(maps.Values(before)), port) || slices.Contains(slices.Collect(maps.Values(n.ports)), port)); port, err = freePort() {
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

// forget removes what a node has kept. The script, which will wait for a cluster in vain, does so without sleeping.
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

// script runs what redis-cluster runs.
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

// ask asks the cluster through a node.
func (n *nodes) ask(name string, args ...string) string {
	n.t.Helper()
	said, err := exec.CommandContext(n.t.Context(), "redis-cli", append([]string{"-e", "-c", "-p", fmt.Sprint(n.ports[name])}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v of %s: %v\n%s", args, name, err, said)
	}
	return strings.TrimSpace(string(said))
}

// member is a node as the cluster knows it.
type member struct{ primary, slots string }

// agreed waits until all nodes see the same whole cluster, where the nodes are now, and returns its members by their ids.
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

// members reads what CLUSTER NODES says; nodes that are not where they are now are left out.
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

// whole: three primaries have all slots, and each has a replica.
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
