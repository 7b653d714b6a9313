// Package sentinel asks Redis Sentinel for the address of the primary.
package sentinel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/race"
	"github.com/redstart-go/redstart/internal/wire"
)

// Sentinels are the servers that watch one primary. Set the fields before the first use.
type Sentinels struct {
	Addrs              []string
	MasterSet          string        // the primary's name
	Username, Password string        // for the sentinels
	Timeout            time.Duration // for each question
	Dial               func(ctx context.Context, addr string) (net.Conn, error)

	first atomic.Int64 // index of the sentinel that answered last: it is asked first
}

// Primary returns the primary's address, from the sentinel that answers first.
func (s *Sentinels) Primary(ctx context.Context) (addr string, err error) {
	from := int(s.first.Load())
	return race.First(ctx, len(s.Addrs), func(ctx context.Context, i int) (string, error) {
		i = (from + i) % len(s.Addrs)
		addr, err := s.ask(ctx, s.Addrs[i])
		if err != nil {
			return "", fmt.Errorf("sentinel %s: %w", s.Addrs[i], err)
		}
		s.first.Store(int64(i))
		return addr, nil
	})
}

// ask asks one sentinel.
func (s *Sentinels) ask(ctx context.Context, sentinel string) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	nc, err := s.Dial(ctx, sentinel)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()

	if s.Password != "" {
		words := []string{s.Password}
		if s.Username != "" {
			words = []string{s.Username, s.Password}
		}
		reply, err := exchange(nc, "AUTH", words...)
		if err = cmp.Or(err, reply.Err()); err != nil {
			return "", err
		}
	}
	reply, err := exchange(nc, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.MasterSet)
	if err != nil {
		return "", err
	}
	if reply.IsNil() {
		return "", fault.New(fault.ErrUnavailable, fmt.Errorf("the sentinel knows no master named %q", s.MasterSet),
			"check the name in REDIS_URL")
	}
	parts, err := reply.ToTuple(2)
	if err != nil {
		return "", err
	}
	host, err1 := parts[0].ToString()
	port, err2 := parts[1].ToString()
	return net.JoinHostPort(host, port), errors.Join(err1, err2)
}

// exchange sends one command and reads one reply.
func exchange(nc net.Conn, name string, args ...string) (wire.Reply, error) {
	var out wire.Buffer
	out.Command(name, "", args...)
	if _, err := out.Write(nc); err != nil {
		return wire.Reply{}, err
	}
	d := wire.NewDecoder(4 << 10)
	for {
		reply, _, err := d.Next()
		if err != wire.ErrNeedMore {
			return reply, err
		}
		if err := d.Fill(nc); err != nil {
			return wire.Reply{}, err
		}
	}
}
