// Package containers parses the container files of deploy/, for tests. The parser is strict: an
// unknown key is an error, so that the tests check everything in these files.
package containers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Compose is a compose file with the keys that ours uses.
type Compose struct {
	Name     string
	Services map[string]Service
	Volumes  map[string]*struct{}
	Anchors  map[string]yaml.Node `yaml:",inline"` // x-… keys, which aliases refer to
}

// Service is a service of a compose file.
type Service struct {
	Image string
	Build struct {
		Context    string
		Dockerfile string
	}
	Command         Words
	Environment     map[string]string
	DependsOn       map[string]Dependency `yaml:"depends_on"`
	Healthcheck     Healthcheck
	Ports           []string
	Volumes         []string
	Tmpfs           string
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
}

// Dependency is a service that must reach a condition first.
type Dependency struct{ Condition string }

// Healthcheck is the check of a service's health.
type Healthcheck struct {
	Test              Words
	Interval, Timeout time.Duration
	Retries           int
}

// Words is a command, as a string or as a list.
type Words []string

// UnmarshalYAML splits a string at spaces. It refuses quotes.
func (w *Words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return node.Decode((*[]string)(w))
	}
	if strings.ContainsAny(node.Value, `'"\`) {
		return fmt.Errorf("line %d: the command has quotes: write it as a list", node.Line)
	}
	*w = strings.Fields(node.Value)
	return nil
}

var variable = regexp.MustCompile(`\$(\$)?`)

// ReadCompose reads a compose file.
func ReadCompose(file string) (Compose, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Compose{}, err
	}
	// Compose replaces $NAME by a variable of the environment. $$ is a literal $.
	text = variable.ReplaceAllFunc(text, func(found []byte) []byte {
		if len(found) == 1 {
			err = errors.New("a single $ reads a variable of the environment: write $$")
		}
		return found[:1]
	})
	if err != nil {
		return Compose{}, fmt.Errorf("%s: %w", file, err)
	}
	var compose Compose
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&compose); err != nil {
		return Compose{}, fmt.Errorf("%s: %w", file, err)
	}
	for name := range compose.Anchors {
		if !strings.HasPrefix(name, "x-") {
			return Compose{}, fmt.Errorf("%s: the key %s is unknown", file, name)
		}
	}
	return compose, nil
}
