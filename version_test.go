package redstart_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
)

// The first section of the CHANGELOG is the one of Version: "Unreleased" while Version ends with
// "-dev".
func TestDocsChangelogBeginsWithTheVersion(t *testing.T) {
	t.Parallel()
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-dev)?$`).MatchString(redstart.Version) {
		t.Errorf("Version is %q, want three numbers, and -dev between releases", redstart.Version)
	}
	want := redstart.Version
	if strings.HasSuffix(want, "-dev") {
		want = "Unreleased"
	}
	first := regexp.MustCompile(`(?m)^## \[([^\]]+)\]`).FindStringSubmatch(readFile(t, "CHANGELOG.md"))
	if first == nil || first[1] != want {
		t.Errorf("CHANGELOG.md begins with section %v, want [%s], since Version is %q", first, want, redstart.Version)
	}
}
