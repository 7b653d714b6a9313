package containers

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Stage is a stage of a Dockerfile, which starts with FROM.
type Stage struct {
	Image, Name string
	Steps       []Step
}

// Step is an instruction, for example RUN --mount=… go build.
type Step struct {
	Name  string
	Flags []string // the flags before the arguments
	Args  string
}

var instructions = []string{"COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "RUN", "WORKDIR"}

// ReadDockerfile parses a Dockerfile.
func ReadDockerfile(file string) ([]Stage, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var stages []Stage
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		step := Step{Name: words[0]}
		for words = words[1:]; len(words) > 0 && strings.HasPrefix(words[0], "--"); words = words[1:] {
			step.Flags = append(step.Flags, words[0])
		}
		step.Args = strings.Join(words, " ")
		switch {
		case !slices.Contains(instructions, step.Name):
			return nil, fmt.Errorf("%s: the instruction %s is unknown", file, step.Name)
		case step.Name == "FROM":
			image, name, _ := strings.Cut(step.Args, " AS ")
			stages = append(stages, Stage{Image: image, Name: name})
		case len(stages) == 0:
			return nil, fmt.Errorf("%s: %s is before the first FROM", file, step.Name)
		default:
			last := &stages[len(stages)-1]
			last.Steps = append(last.Steps, step)
		}
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return stages, nil
}

// All returns the steps of a stage with this name.
func (s Stage) All(name string) []Step {
	return slices.DeleteFunc(slices.Clone(s.Steps), func(step Step) bool { return step.Name != name })
}
