package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// repair is a POST path that changes the state of a pattern.
type repair struct {
	page string // the page that shows the result
	one  string // the notice if one thing was changed
	many string // the notice with %s for the number; "" if there is only one thing
	do   func(ctx context.Context, in *inspect.Inspector, form form) (changed int64, err error)
}

// form has the fields of a repair. The template function ask has escaped the names in it,
// because a browser changes line ends and NUL bytes of fields.
type form struct{ values url.Values }

// plain returns a field as it was typed.
func (f form) plain(field string) string { return f.values.Get(field) }

// name returns a name that the page has escaped.
func (f form) name(field string) (string, error) {
	text, err := url.QueryUnescape(f.values.Get(field))
	if err != nil || len(text) > maxLinked {
		return "", fmt.Errorf("console: field %q is malformed: open the page again and repeat the repair", field)
	}
	return text, nil
}

// names reads several names.
func (f form) names(fields map[string]*string) error {
	for field, target := range fields {
		text, err := f.name(field)
		if err != nil {
			return err
		}
		*target = text
	}
	return nil
}

// one returns the result of a repair that changes one thing, or nothing if it fails.
func one(err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// The budgets of a repair.
const (
	maxForm    = 256 << 10
	formTime   = 10 * time.Second
	repairTime = 20 * time.Second
)

func (c *Console) serveRepair(w http.ResponseWriter, r *http.Request, path string, rep repair) {
	role, _ := r.Context().Value(roleKey{}).(Role)
	if reason := c.mayRepair(role); reason != "" {
		c.refuse(w, r, http.StatusForbidden, rep.page, reason)
		return
	}
	// A ResponseWriter without deadlines keeps the deadlines of its server.
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Now().Add(c.formTime))
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.refuse(w, r, http.StatusBadRequest, rep.page, "The form is malformed, too slow or larger than 256 KiB.")
		return
	}
	_ = out.SetReadDeadline(time.Time{})

	ctx, cancel := context.WithTimeout(r.Context(), repairTime)
	defer cancel()
	_ = out.SetWriteDeadline(time.Now().Add(repairTime + writeTimeout))
	if !c.repairing.enter(ctx) {
		c.refuse(w, r, http.StatusServiceUnavailable, rep.page, "Too many repairs are running. Try again when they have ended.")
		return
	}
	defer c.repairing.leave()
	in, err := inspect.New(c.client, inspect.Options{
		Actor: c.actorOf(r), Logger: c.repairLogger, SessionKeys: c.opt.SessionKeys,
	})
	if err != nil {
		c.refuse(w, r, http.StatusInternalServerError, rep.page, explain(err))
		return
	}
	changed, err := rep.do(ctx, in, form{r.PostForm})
	c.kept.repair()
	if err != nil && changed > 0 {
		err = fmt.Errorf("%s things were changed before the repair stopped: repeat it for the others: %w", grouped(changed), err)
	}
	if err != nil {
		c.refuse(w, r, statusOf(err), rep.page, explain(err))
		return
	}
	http.Redirect(w, r, c.resultOf(r, path, rep, changed), http.StatusSeeOther)
}

// resultOf returns the address of the page that shows the result of a repair: the page that the
// form names, if it is one of the console.
func (c *Console) resultOf(r *http.Request, path string, rep repair, changed int64) string {
	target, err := url.Parse(r.PostForm.Get("back"))
	if err != nil || !c.inside(target) || len(target.RawQuery) > maxQuery/2 {
		target = &url.URL{Path: c.opt.Prefix + rep.page}
	}
	query := target.Query()
	query.Set("done", path)
	query.Set("n", strconv.FormatInt(changed, 10))
	return (&url.URL{Path: target.Path, RawQuery: query.Encode()}).String()
}

// refuse answers a repair that did not happen with a page that says why.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, status int, back, reason string) {
	p, _ := pageAt(back)
	role, _ := r.Context().Value(roleKey{}).(Role)
	v := c.frame(p, role)
	v.Title, v.Content = "The repair was refused", refusal{Reason: reason, Back: c.opt.Prefix + back, Page: p.title}
	if status >= http.StatusInternalServerError {
		v.Title = "The repair failed"
	}
	body, err := c.execute(refusalPage, "layout.html", v)
	if err != nil {
		http.Error(w, reason, status)
		return
	}
	respond(w, r, status, body)
}

// refusal is the content of the page about a refused repair.
type refusal struct{ Reason, Back, Page string }

// inside reports whether a URL is a page of this console on this host.
func (c *Console) inside(u *url.URL) bool {
	if u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	for _, p := range pages {
		if u.Path == c.opt.Prefix+p.path {
			return true
		}
	}
	return false
}

// notice returns the text about the last repair, from a fixed list.
func notice(query url.Values) string {
	rep, ok := repairs[query.Get("done")]
	if !ok {
		return ""
	}
	n, err := strconv.ParseInt(query.Get("n"), 10, 64)
	switch {
	case err != nil || n < 0:
		return ""
	case n == 0:
		return "Nothing changed: it was already gone."
	case n == 1, rep.many == "":
		return rep.one
	}
	return fmt.Sprintf(rep.many, grouped(n))
}
