// Package containers reads what is in deploy/ for people with containers. It is for tests alone, and strict: what it does not know
// is an error, so that nothing in those files goes unread.
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

// Compose is a compose file, as far as ours goes.
type Compose struct {
	Name     string
	Services map[string]Service
	Volumes  map[string]*struct{}
	Anchors  map[string]yaml.Node `yaml:",inline"` // x-…: read where they are used
}

// Service is one of its services.
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

// Dependency says what a service waits for.
type Dependency struct{ Condition string }

// Healthcheck says when a service is healthy.
type Healthcheck struct {
	Test              Words
	Interval, Timeout time.Duration
	Retries           int
}

// Words is a command, written as one string or as a list.
type Words []string

// UnmarshalYAML splits a string at spaces: ours have no quotes.
func (w *Words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return node.Decode((*[]string)(w))
	}
	if strings.ContainsAny(node.Value, `'"\`) {
		return fmt.Errorf("line %d: a command with quotes; write it as a list", node.Line)
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
	// Compose would put variables of whoever runs it in place of $…; $$ stands for one $.
	text = variable.ReplaceAllFunc(text, func(found []byte) []byte {
		if len(found) == 1 {
			err = errors.New("a single $: it takes a variable from whoever runs the file")
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
			return Compose{}, fmt.Errorf("%s: %s is not known", file, name)
		}
	}
	return compose, nil
}
