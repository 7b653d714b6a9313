package demo

import (
	"embed"
	"strings"
)

//go:embed *_lines.go
var lines embed.FS

// Code returns the functions of Go that a story runs, for the page. The name of a story is cache,
// lock, events, session or limit.
func Code(story string) string {
	file, err := lines.ReadFile(story + "_lines.go")
	if err != nil {
		return ""
	}
	_, code, _ := strings.Cut(string(file), "\n)\n\n")
	return code
}
