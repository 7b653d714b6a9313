package main_test

import (
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/redstart-go/redstart"
	shop "github.com/redstart-go/redstart/service"
	"github.com/redstart-go/redstart/service/internal/containers"
)

const (
	composeFile = "../deploy/compose.yaml"
	dockerfile  = "../deploy/Dockerfile"
	redisPort   = "6379" // the default port of redis-server
)

func compose(t *testing.T) containers.Compose {
	t.Helper()
	file, err := containers.ReadCompose(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// stages returns the build stage and the image stage of the Dockerfile.
func stages(t *testing.T) (build, image containers.Stage) {
	t.Helper()
	all, err := containers.ReadDockerfile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%s has %d stages, want a build and an image", dockerfile, len(all))
	}
	return all[0], all[1]
}

// shops returns the services that run the image of the Dockerfile, by name.
func shops(t *testing.T, file containers.Compose) []string {
	t.Helper()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(file.Services)) {
		service := file.Services[name]
		if service.Build.Dockerfile == "" {
			continue
		}
		names = append(names, name)
		built := filepath.Join(filepath.Dir(composeFile), service.Build.Context, service.Build.Dockerfile)
		if built != filepath.Clean(dockerfile) {
			t.Errorf("%s is built from %s", name, built)
		}
	}
	if len(names) == 0 {
		t.Fatal("no service is built from a Dockerfile")
	}
	return names
}

// imageEnv returns the environment of the image.
func imageEnv(t *testing.T) map[string]string {
	t.Helper()
	_, image := stages(t)
	env := map[string]string{}
	for _, step := range image.All("ENV") {
		for word := range strings.FieldsSeq(step.Args) {
			name, value, ok := strings.Cut(word, "=")
			if !ok {
				t.Fatalf("ENV %s: want NAME=value", step.Args)
			}
			env[name] = value
		}
	}
	return env
}

// Each shop of the compose file gets only known variables, with the intended values.
func TestComposeSettings(t *testing.T) {
	known := shop.Variables()
	for field := range reflect.TypeFor[redstart.Config]().Fields() {
		if name := field.Tag.Get("env"); name != "" {
			known = append(known, name)
		}
	}
	file, image := compose(t), imageEnv(t)
	for _, name := range shops(t, file) {
		t.Run(name, func(t *testing.T) {
			for _, variable := range known {
				t.Setenv(variable, "")
			}
			service := file.Services[name]
			for _, env := range []map[string]string{image, service.Environment} {
				for variable, value := range env {
					if !slices.Contains(known, variable) {
						t.Errorf("the shop has no %s", variable)
					}
					t.Setenv(variable, value)
				}
			}
			cfg, err := shop.ReadConfig(nil, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Instance != name {
				t.Errorf("its instance name is %q", cfg.Instance)
			}
			if service.StopGracePeriod <= shop.DrainTimeout {
				t.Errorf("it is killed after %v, but its requests have %v to finish", service.StopGracePeriod, shop.DrainTimeout)
			}
			ports(t, service, cfg)
			database(t, file, cfg)
			redis(t, file, cfg)
			for other, want := range map[string]string{"postgres": "service_healthy",
				"redis-cluster": "service_completed_successfully"} {
				if got := service.DependsOn[other].Condition; got != want {
					t.Errorf("it starts when %s is %q, want %q", other, got, want)
				}
			}
		})
	}
}

// ports checks that the published port leads to the port of the shop, and only from this machine.
// On another machine, cookies over plain HTTP would be lost.
func ports(t *testing.T, service containers.Service, cfg shop.Config) {
	t.Helper()
	host, inside, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if !net.ParseIP(host).IsUnspecified() {
		t.Errorf("it listens on %s, which is not reachable from outside of its container", host)
	}
	if len(service.Ports) != 1 || !regexp.MustCompile(`^127\.0\.0\.1:\d+:`+inside+`$`).MatchString(service.Ports[0]) {
		t.Errorf("ports %q, want one of 127.0.0.1 that leads to %s", service.Ports, inside)
	}
	if cfg.Cookies != "insecure" {
		t.Errorf("cookies are %q on plain HTTP", cfg.Cookies)
	}
}

// database checks that the URL leads to a service with this user, password and database.
func database(t *testing.T, file containers.Compose, cfg shop.Config) {
	t.Helper()
	parsed, err := pgx.ParseConfig(cfg.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	server, ok := file.Services[parsed.Host]
	if !ok || !strings.HasPrefix(server.Image, "postgres:") || parsed.Port != 5432 {
		t.Fatalf("there is no PostgreSQL at %s:%d", parsed.Host, parsed.Port)
	}
	got := map[string]string{"POSTGRES_USER": parsed.User, "POSTGRES_PASSWORD": parsed.Password, "POSTGRES_DB": parsed.Database}
	if !maps.Equal(got, server.Environment) {
		t.Errorf("the URL has %v, %s is created with %v", got, parsed.Host, server.Environment)
	}
	if parsed.TLSConfig != nil {
		t.Error("the image of PostgreSQL has no TLS: want sslmode=disable")
	}
	// While the image creates a new database, its server listens only on the socket, and then
	// restarts.
	if check := strings.Join(server.Healthcheck.Test, " "); !strings.HasPrefix(check,
		"CMD pg_isready -h 127.0.0.1 ") || !strings.Contains(check, "-U "+parsed.User) {
		t.Errorf("the health check of %s is %q", parsed.Host, check)
	}
}

// redis checks that the URL leads to nodes of the cluster.
func redis(t *testing.T, file containers.Compose, cfg shop.Config) {
	t.Helper()
	if _, err := redstart.ConfigFromEnv(); err != nil { // also reads REDIS_URL
		t.Fatal(err)
	}
	at, err := url.Parse(strings.Split(cfg.RedisURL, ",")[0])
	if err != nil || at.Scheme != "redis+cluster" {
		t.Fatalf("REDIS_URL is %s: %v", cfg.RedisURL, err)
	}
	for addr := range strings.SplitSeq(strings.TrimPrefix(cfg.RedisURL, "redis+cluster://"), ",") {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		if server, ok := file.Services[host]; !ok || port != redisPort || !slices.Contains(server.Command, "--cluster-enabled") {
			t.Errorf("there is no node at %s", addr)
		}
	}
}

// The ports in the texts are the published ports.
func TestComposePortsAreTheDocumentedPorts(t *testing.T) {
	t.Parallel()
	file := compose(t)
	var published []string
	for _, name := range shops(t, file) {
		for _, port := range file.Services[name].Ports {
			published = append(published, strings.Split(port, ":")[1])
		}
	}
	if slices.Sort(published); len(slices.Compact(slices.Clone(published))) != len(published) {
		t.Errorf("ports are published twice: %v", published)
	}
	named := regexp.MustCompile(`\b80\d\d\b`)
	for name, where := range map[string]*regexp.Regexp{
		composeFile:                regexp.MustCompile(`(?m)^# http://localhost:.*$`),
		"../scripts/compose-check": regexp.MustCompile(`(?m)^shops=.*$`),
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := named.FindAllString(where.FindString(string(text)), -1); !slices.Equal(got, published) {
			t.Errorf("%s has %v, published are %v", name, got, published)
		}
	}
}

// A service that stores data has a declared volume, so that its data survives "down". No other
// volume is declared.
func TestComposeVolumes(t *testing.T) {
	t.Parallel()
	file := compose(t)
	folders := map[string]string{"redis": "/data", "postgres": "/var/lib/postgresql/data"} // the volumes of the images
	used := map[string]string{}
	for name, service := range file.Services {
		image, _, _ := strings.Cut(service.Image, ":")
		folder, keeps := folders[image]
		switch {
		case service.Tmpfs != "" && service.Tmpfs == folder:
		case keeps && !slices.Equal(service.Volumes, []string{name + ":" + folder}):
			t.Errorf("%s stores its data in %q, want a volume with its name at %s", name, service.Volumes, folder)
		case keeps:
			used[name] = folder
		}
	}
	if got, want := slices.Sorted(maps.Keys(file.Volumes)), slices.Sorted(maps.Keys(used)); !slices.Equal(got, want) {
		t.Errorf("volumes %v are declared, %v are used", got, want)
	}
}

// The Dockerfile builds this shop with the Go version of go.mod, for an image without a C library
// and with a user who is not root.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	build, image := stages(t)

	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	if version == nil || build.Image != "golang:"+string(version[1]) {
		t.Errorf("it is built with %s, go.mod says %s", build.Image, version)
	}
	runs := build.All("RUN")
	if len(runs) != 1 {
		t.Fatalf("%d RUN, want one", len(runs))
	}
	command := regexp.MustCompile(`^CGO_ENABLED=0 go build -trimpath -o (/\S+) (\./\S+) && mkdir (/\S+)$`).FindStringSubmatch(runs[0].Args)
	if command == nil {
		t.Fatalf("RUN %s", runs[0].Args)
	}
	list := exec.Command("go", "list", "-f", "{{.Name}} {{.ImportPath}}", command[2])
	list.Dir = ".."
	if said, err := list.CombinedOutput(); err != nil ||
		strings.TrimSpace(string(said)) != "main "+reflect.TypeFor[shop.Config]().PkgPath() {
		t.Errorf("it builds %s: %s %v", command[2], said, err)
	}

	if image.Image != "gcr.io/distroless/static-debian12:nonroot" {
		t.Errorf("the image is based on %s", image.Image)
	}
	copied := map[string][]string{}
	for _, step := range image.All("COPY") {
		copied[step.Args] = step.Flags
	}
	from, owner := "--from="+build.Name, "--chown=nonroot:nonroot"
	work := image.All("WORKDIR")[0].Args
	want := map[string][]string{command[1] + " /shop": {from}, command[3] + " " + work: {from, owner}}
	if !reflect.DeepEqual(copied, want) {
		t.Errorf("it copies %v, want %v", copied, want)
	}
	if entry := image.All("ENTRYPOINT"); len(entry) != 1 || entry[0].Args != `["/shop"]` {
		t.Errorf("its entry point is %v", entry)
	}
	_, port, err := net.SplitHostPort(imageEnv(t)["ADDR"])
	if err != nil {
		t.Fatal(err)
	}
	if exposed := image.All("EXPOSE"); len(exposed) != 1 || exposed[0].Args != port {
		t.Errorf("it exposes %v, but listens on %s", exposed, port)
	}
}

// No file that the build needs is ignored.
func TestDockerignore(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(dockerfile + ".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var ignored []*regexp.Regexp
	for pattern := range strings.FieldsSeq(string(text)) {
		if strings.ContainsAny(pattern, "!?[\\") {
			t.Fatalf("pattern %q: this test supports only * and **", pattern)
		}
		expr := strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*`, `[^/]*`).Replace(regexp.QuoteMeta(pattern))
		ignored = append(ignored, regexp.MustCompile(`^`+expr+`(/|$)`))
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "-f",
		`{{if not .Standard}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`+
			`{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}`, "./service")
	list.Dir = root
	said, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.work", "go.mod", "go.sum", "bench/go.mod", "service/go.mod", "service/go.sum"}
	for file := range strings.FieldsSeq(string(said)) {
		if ours, ok := strings.CutPrefix(filepath.ToSlash(file), filepath.ToSlash(root)+"/"); ok {
			needed = append(needed, ours)
		}
	}
	if len(needed) < 50 {
		t.Fatalf("the build needs only %v", needed)
	}
	keeps := func(file string) bool {
		return slices.ContainsFunc(ignored, func(expr *regexp.Regexp) bool { return expr.MatchString(file) })
	}
	for _, file := range needed {
		if keeps(file) {
			t.Errorf("the build needs %s, which is ignored", file)
		}
	}
	for _, file := range []string{".git/config", "shop.db", "shop.db-wal", path.Join("service", "shop.db")} {
		if !keeps(file) {
			t.Errorf("the build does not need %s, which is not ignored", file)
		}
	}
}
