package web

import (
	"go/scanner"
	"go/token"
	"html/template"
	"strings"

	"github.com/redstart-go/redstart/service/internal/demo"
)

// storyView is what the page shows of a story next to its controls.
type storyView struct {
	Name  string
	Guide string // the name of the guide of the pattern
	Code  template.HTML
}

var guides = map[string]string{"cache": "caching", "lock": "locks", "events": "events", "session": "sessions", "limit": "limits"}

// storyOf returns the story of a demo.
func storyOf(name string) *storyView {
	return &storyView{Name: name, Guide: guides[name], Code: coloured(demo.Code(name))}
}

// coloured returns Go code as HTML, with a class for comments, keywords and strings.
func coloured(code string) template.HTML {
	var html strings.Builder
	file := token.NewFileSet().AddFile("", -1, len(code))
	var s scanner.Scanner
	s.Init(file, []byte(code), nil, scanner.ScanComments) // code that compiles has no errors
	done := 0
	for {
		pos, tok, text := s.Scan()
		class := ""
		switch {
		case tok == token.EOF:
			template.HTMLEscape(&html, []byte(code[done:]))
			return template.HTML(html.String()) //nolint:gosec // escaped above and below
		case tok == token.COMMENT:
			class = "c"
		case tok.IsKeyword():
			class = "k"
		case tok == token.STRING:
			class = "s"
		default:
			continue
		}
		at := file.Offset(pos)
		template.HTMLEscape(&html, []byte(code[done:at]))
		html.WriteString(`<span class="` + class + `">`)
		template.HTMLEscape(&html, []byte(text))
		html.WriteString("</span>")
		done = at + len(text)
	}
}
