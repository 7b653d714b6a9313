package session_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

// worker is a process that executes commands from standard input. Each handle has its own Manager
// and hook.
func worker() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("SESSION_URL"),
		Namespace: os.Getenv("SESSION_NS"), CommandTimeout: 10 * time.Second})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	defer client.Close()
	w := &workbench{client: client, held: map[string]*heldSession{}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(w.obey(ctx, strings.Fields(lines.Text())))
	}
}

type workbench struct {
	client *redstart.Client
	held   map[string]*heldSession
}

type heldSession struct {
	m            *mgr
	s            *sess
	holds        chan string
	resume, done chan string
	uncut        func()
}

func (w *workbench) obey(ctx context.Context, words []string) string {
	switch words[0] {
	case "revoke":
		return verdict(nil, w.manager().Revoke(ctx, words[1], words[2]))
	case "revokeuser":
		_, err := w.manager().RevokeUser(ctx, words[1])
		return verdict(nil, err)
	}
	x := w.held[words[1]]
	if x == nil {
		x = &heldSession{m: w.manager(), holds: make(chan string), resume: make(chan string), done: make(chan string, 1)}
		w.held[words[1]] = x
	}
	var err error
	switch words[0] {
	case "create":
		x.s, err = x.m.Create(ctx, words[2], cart{Items: map[string]int{}})
		return verdict(x.s, err)
	case "load":
		x.s, err = x.m.Load(ctx, words[2])
		return verdict(x.s, err)
	case "destroy":
		return verdict(nil, x.s.Destroy(ctx))
	case "others":
		_, err = x.s.RevokeOthers(ctx)
		return verdict(nil, err)
	case "resume":
		x.resume <- ""
		return x.wait()
	}
	x.cut()
	go func() {
		var err error
		switch words[0] {
		case "touch":
			session.SetSkew(x.m, int64(time.Hour/time.Millisecond))
			x.s, err = x.m.Load(ctx, words[2])
		case "update":
			err = x.s.Update(ctx, func(c *cart) error {
				if c.Items == nil {
					c.Items = map[string]int{}
				}
				c.Items[words[2]]++
				return nil
			})
		case "renew":
			err = x.s.Renew(ctx)
		case "login":
			err = x.s.Login(ctx, words[2])
		}
		x.done <- verdict(x.s, err)
	}()
	return x.wait()
}

// cut holds the next call before its first write, and a login also before its second step.
func (x *heldSession) cut() {
	first := true
	x.uncut = session.Points(x.m).Arm("write", func(verb string) error {
		if first || verb == "move" {
			first = false
			x.holds <- verb
			<-x.resume
		}
		return nil
	})
}

func (x *heldSession) wait() string {
	select {
	case verb := <-x.holds:
		return "held " + verb
	case result := <-x.done:
		x.uncut()
		return result
	}
}

func (w *workbench) manager() *mgr {
	m, err := session.New[cart](w.client, "web", historyOptions)
	if err != nil {
		panic(err)
	}
	return m
}

func verdict(s *sess, err error) string {
	switch {
	case errors.Is(err, session.ErrNotFound):
		return "notfound"
	case err != nil:
		return "error " + strings.ReplaceAll(err.Error(), "\n", " ")
	case s == nil:
		return "ok - -"
	}
	return "ok " + s.Token() + " " + s.ID()
}
