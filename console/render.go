package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// view is what the templates get. Content differs from page to page.
type view struct {
	Namespace string
	Title     string
	Live      string // URL of the stream of this page; "" for none
	Pages     []navItem
	Role      Role
	ReadOnly  bool
	MayRepair bool
	Notice    string // result of the last repair
	Content   any
}

// navItem is a link of the navigation.
type navItem struct {
	Href, Label string
	Current     bool
}

// link returns a URL inside the console: {{link "/locks" "name" .Raw}}.
func link(prefix, path string, args ...any) (string, error) {
	if len(args)%2 != 0 {
		return "", fmt.Errorf("console: link %q: want pairs of arguments", path)
	}
	query := url.Values{}
	for i := 0; i < len(args); i += 2 {
		if text := fmt.Sprint(args[i+1]); text != "" {
			query.Set(fmt.Sprint(args[i]), text)
		}
	}
	target := prefix + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return target, nil
}

// parsePages parses the layout once per page.
func parsePages(prefix string) (map[string]*template.Template, error) {
	funcs := template.FuncMap{
		"link":    func(path string, args ...any) (string, error) { return link(prefix, path, args...) },
		"asset":   func(file string) string { return prefix + "/assets/" + file },
		"span":    span,
		"size":    func(n any) string { return sizeAny(n) },
		"amount":  amount,
		"grouped": func(n any) string { return groupedAny(n) },
		"counted": counted,
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"moment":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"until":   func(t time.Time) string { return span(time.Until(t).Truncate(time.Second)) },
		"ago":     ago,
		"dict":    dict,
		"ask": func(label, button, path, back, question string, fields ...string) (question, error) {
			return ask(prefix, label, button, path, back, question, fields)
		},
	}
	layout, err := template.New("layout.html").Funcs(funcs).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html")
	if err != nil {
		return nil, fmt.Errorf("console: parse the layout: %w", err)
	}
	files := map[string]string{refusalPage: "refusal.html"}
	for _, p := range pages {
		files[p.path] = p.file
	}
	parsed := make(map[string]*template.Template)
	for path, file := range files {
		one, err := layout.Clone()
		if err == nil {
			one, err = one.ParseFS(pageFiles, "pages/"+file)
		}
		if err != nil {
			return nil, fmt.Errorf("console: parse %s: %w", file, err)
		}
		parsed[path] = one
	}
	return parsed, nil
}

// refusalPage is the key of the page about a refused repair. It has no path.
const refusalPage = "refusal"

// question is a repair that asks before it acts.
type question struct {
	Label, Button, Action, Back, Question string
	Of                                    string // the object: the labels of all rows are equal
	Fields                                []fact
}

// ask returns a question with escaped fields, so that they keep any bytes. See form.name. The
// object of the question is its last field, or the value of the pair without a name, which is no
// field.
func ask(prefix, label, button, path, back, text string, fields []string) (question, error) {
	if len(fields)%2 != 0 {
		return question{}, fmt.Errorf("console: ask %q: want pairs of fields", label)
	}
	q := question{Label: label, Button: button, Action: prefix + path, Back: back, Question: text}
	for i := 0; i < len(fields); i += 2 {
		q.Of = printable(fields[i+1], maxShown)
		if fields[i] != "" {
			q.Fields = append(q.Fields, fact{fields[i], url.QueryEscape(fields[i+1])})
		}
	}
	return q, nil
}

// dict makes a map of pairs, as the argument of a part.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("console: dict: want pairs")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

// ago returns how long ago a time was.
func ago(t time.Time) string {
	since := time.Since(t).Truncate(time.Second)
	if since < time.Second {
		return "now"
	}
	return span(since) + " ago"
}

func sizeAny(n any) string {
	switch n := n.(type) {
	case int:
		return size(int64(n))
	case int64:
		return size(n)
	}
	return fmt.Sprint(n)
}

func groupedAny(n any) string {
	switch n := n.(type) {
	case int:
		return grouped(int64(n))
	case int64:
		return grouped(n)
	case uint64:
		return grouped(int64(min(n, 1<<63-1))) //nolint:gosec // bounded by min
	}
	return fmt.Sprint(n)
}

// execute renders a template of a page: "layout.html" or "content".
func (c *Console) execute(path, part string, v view) ([]byte, error) {
	var out bytes.Buffer
	if err := c.templates[path].ExecuteTemplate(&out, part, v); err != nil {
		return nil, fmt.Errorf("console: render %s: %w", path, err)
	}
	return out.Bytes(), nil
}

// respond sends a page.
func respond(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the browser has disconnected
	}
}
