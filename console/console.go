package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/lifecycle"
)

// Console is an http.Handler that shows the state of the patterns of one client, and repairs it.
// [New] makes one. Its methods are safe for concurrent use.
type Console struct {
	client    *redstart.Client
	opt       Options
	namespace string
	inspector *inspect.Inspector // for pages: read-only

	repairLogger *slog.Logger // nil: the logger of the client

	handler   http.Handler
	templates map[string]*template.Template
	sampler   *sampler
	live      *live
	kept      kept
	lags      lags
	doctor    shared[doctorFindings]
	nodes     shared[nodeStates]
	reading   turns
	repairing turns
	formTime  time.Duration // for the body of a repair
	life      *lifecycle.Group
	closed    chan struct{}
	closing   sync.Once
}

// New returns a Console for a client. It sends no command. Mount it at Options.Prefix and at all
// paths below:
//
//	mux.Handle("/console/", c)
//
// An error names the invalid option.
func New(client *redstart.Client, opts Options) (*Console, error) {
	if client == nil {
		return nil, errors.New("console: new: the client is nil: pass the result of redstart.Open")
	}
	repairLogger := opts.Logger
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	inspector, err := inspect.New(client, inspect.Options{ReadOnly: true, SessionKeys: opts.SessionKeys})
	if err != nil {
		return nil, fmt.Errorf("console: new: %w", err)
	}
	c := &Console{
		client: client, opt: opts, namespace: clientcore.Of(client).Namespace(),
		inspector: inspector, repairLogger: repairLogger,
		sampler: newSampler(client.Metrics()), live: newLive(),
		life: lifecycle.New(), closed: make(chan struct{}),
		reading: make(turns, maxReading), repairing: make(turns, maxRepairing), formTime: formTime,
	}
	c.examine(c.life)
	if c.templates, err = parsePages(opts.Prefix); err != nil {
		return nil, err
	}
	c.live.sample = c.sampler.sample
	c.live.render = c.renderLive
	c.live.start = func(poll func(context.Context)) bool { return c.life.Go("console poller", poll) }
	if c.handler, err = c.routes(); err != nil {
		return nil, err
	}
	clientcore.Of(client).OnClose(func(context.Context) error { return c.Close() })
	return c, nil
}

// Close ends all streams and the goroutine of the Console, within two seconds. Requests after Close
// are answered with status 503. http.Server.Shutdown waits for streams, so register Close:
// server.RegisterOnShutdown(func() { c.Close() }).
func (c *Console) Close() error {
	c.closing.Do(func() { close(c.closed) })
	if err := c.life.Close(2 * time.Second); err != nil {
		return fmt.Errorf("console: close: %w", err)
	}
	return nil
}

// ServeHTTP serves a page, a stream, a file or a repair. It refuses requests without a role (403),
// repairs of other sites (403), and methods that it does not know (405).
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// routes returns the handler of all paths.
func (c *Console) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	files, err := fs.Sub(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("console: new: %w", err)
	}
	prefix := c.opt.Prefix
	mux.Handle("GET "+prefix+"/assets/{file}", http.StripPrefix(prefix+"/assets", http.FileServerFS(files)))
	mux.HandleFunc("GET "+prefix+"/live", c.serveLive)
	for _, p := range pages {
		pattern := "GET " + prefix + p.path
		if p.path == "/" {
			pattern += "{$}"
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { c.servePage(w, r, p) })
	}
	for path, repair := range repairs {
		mux.HandleFunc("POST "+prefix+path, func(w http.ResponseWriter, r *http.Request) { c.serveRepair(w, r, path, repair) })
	}

	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this request comes from another site: open the console and repeat the repair there", http.StatusForbidden)
	}))
	return c.guarded(crossOrigin.Handler(mux)), nil
}

// roleKey is the key of the role in the context of a request.
type roleKey struct{}

// guarded sets the headers, and lets only requests with a role pass.
func (c *Console) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secured(w.Header())
		select {
		case <-c.closed:
			http.Error(w, "the console is closed", http.StatusServiceUnavailable)
			return
		default:
		}
		role := c.roleOf(r)
		if role == NoRole {
			http.Error(w, "you have no role in this console", http.StatusForbidden)
			return
		}
		if len(r.URL.RawQuery) > maxQuery {
			http.Error(w, "the address is too long", http.StatusRequestURITooLong)
			return
		}
		if r.URL.Path == c.opt.Prefix && c.opt.Prefix != "" && r.Method != http.MethodPost {
			http.Redirect(w, r, c.opt.Prefix+"/", http.StatusPermanentRedirect)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), roleKey{}, role)))
	})
}

// maxQuery is the limit of the query of a URL, in bytes. It holds two names of maxLinked bytes.
const maxQuery = 16 << 10

// request is what a page reads: its arguments and the role.
type request struct {
	role  Role
	query url.Values
}

// arg returns an argument of a page. It returns "" if the argument is longer than any name.
func (r request) arg(key string) string {
	if value := r.query.Get(key); len(value) <= maxArg(key) {
		return value
	}
	return ""
}

// maxArg is the limit of an argument, in bytes.
func maxArg(key string) int {
	if slices.Contains([]string{"cursor", "dead", "buses", "keys"}, key) {
		return maxCursor
	}
	return maxLinked
}

// known returns the arguments that a page uses, so that equal pages share one topic.
func (p page) known(query url.Values) url.Values {
	known := url.Values{}
	for _, key := range p.args {
		if value := query.Get(key); value != "" && len(value) <= maxArg(key) {
			known.Set(key, value)
		}
	}
	return known
}

// pageTime bounds the work of a page. Its sections are read one after another.
const pageTime = 900 * time.Millisecond

func (c *Console) servePage(w http.ResponseWriter, r *http.Request, p page) {
	c.live.visit()
	body, err := c.render(r, p)
	switch {
	case errors.Is(err, errBusy):
		busy(w, "too many pages are being read: try again in a moment")
		return
	case err != nil:
		c.opt.Logger.ErrorContext(r.Context(), "console: a page failed", "page", p.path, "error", err)
		http.Error(w, "the page could not be rendered; the log has the cause", http.StatusInternalServerError)
		return
	}
	// A ResponseWriter without deadlines keeps the deadline of its server.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(c.live.write))
	respond(w, r, http.StatusOK, body)
}

// render reads and renders a page, when it is its turn.
func (c *Console) render(r *http.Request, p page) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	if !c.reading.enter(ctx) {
		return nil, errBusy
	}
	defer c.reading.leave()
	role, _ := r.Context().Value(roleKey{}).(Role)
	known := p.known(r.URL.Query())
	v := c.view(ctx, p, request{role, known})
	if !fromElsewhere(r) {
		v.Notice = notice(r.URL.Query())
	}
	v.Live = c.opt.Prefix + "/live?" + url.Values{"page": {p.path}, "query": {known.Encode()}}.Encode()
	return c.execute(p.path, "layout.html", v)
}

// view reads the content of a page.
func (c *Console) view(ctx context.Context, p page, req request) view {
	within, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	v := c.frame(p, req.role)
	v.Content = p.read(c, within, req)
	return v
}

// frame returns a view without content.
func (c *Console) frame(p page, role Role) view {
	v := view{
		Namespace: printable(c.namespace, maxShown), Title: p.title,
		Role: role, ReadOnly: c.opt.ReadOnly, MayRepair: c.mayRepair(role) == "",
	}
	for _, other := range pages {
		v.Pages = append(v.Pages, navItem{Href: c.opt.Prefix + other.path, Label: other.title, Current: other.path == p.path})
	}
	return v
}

// renderLive renders the content of a topic for its streams.
func (c *Console) renderLive(ctx context.Context, t topic) []byte {
	p, ok := pageAt(t.path)
	if !ok {
		return nil
	}
	query, err := url.ParseQuery(t.query)
	if err != nil {
		return nil
	}
	body, err := c.execute(p.path, "content", c.view(ctx, p, request{t.role, query}))
	if err != nil {
		c.opt.Logger.ErrorContext(ctx, "console: a page failed", "page", p.path, "error", err)
		return nil
	}
	return body
}

func (c *Console) serveLive(w http.ResponseWriter, r *http.Request) {
	if fromElsewhere(r) {
		http.Error(w, "another site opens this stream: open the console", http.StatusForbidden)
		return
	}
	role, _ := r.Context().Value(roleKey{}).(Role)
	p, ok := pageAt(r.URL.Query().Get("page"))
	query, err := url.ParseQuery(r.URL.Query().Get("query"))
	if !ok || err != nil || r.Method != http.MethodGet {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	shown := p.known(query)
	for _, arg := range onRequest {
		shown.Del(arg)
	}
	c.live.stream(w, r, topic{role, p.path, shown.Encode()}, c.personOf(r), c.closed)
}

func pageAt(path string) (page, bool) {
	for _, p := range pages {
		if p.path == path {
			return p, true
		}
	}
	return page{}, false
}
