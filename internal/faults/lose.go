package faults

import (
	"net"
	"sync"
	"sync/atomic"
)

// losses counts the answers to lose.
type losses struct {
	mu   sync.Mutex
	left int
	lost int
}

// take reports whether the answer to the next write is to be lost.
func (l *losses) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == 0 {
		return false
	}
	l.left--
	return true
}

// giveBack takes back a loss whose write was not executed.
func (l *losses) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left++
}

func (l *losses) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
}

// ReadCommands makes the proxy read commands and replies, which [Proxy.LoseReplies] needs. look
// receives each command before it passes, and keeps none of its bytes. Call ReadCommands before the
// first connection.
func (p *Proxy) ReadCommands(look func(request []byte)) { p.losses, p.look = &losses{}, look }

// LoseReplies makes the server execute each of the next n writes and lose its answer: the
// connection is reset before the answer passes. A script counts as a write, unless it is sent with
// EVAL_RO or EVALSHA_RO. A write that the server refuses does not count, and its error passes. 0
// ends the losses.
func (p *Proxy) LoseReplies(n int) {
	p.losses.mu.Lock()
	defer p.losses.mu.Unlock()
	p.losses.left = n
}

// Losses returns how many answers are still to lose, and how many were lost.
func (p *Proxy) Losses() (left, lost int) {
	p.losses.mu.Lock()
	defer p.losses.mu.Unlock()
	return p.losses.left, p.losses.lost
}

// commands matches the replies of one connection with its commands.
type commands struct {
	request, reply []byte // bytes of an incomplete frame

	mu       sync.Mutex
	sent     int64 // commands that have a reply
	answered int64
	victim   int64   // number of the command whose reply is lost; 0 for none
	passed   verdict // closed when the server has refused the victim
}

// writeFrames passes complete commands or replies on.
//
// After the command whose answer is lost, the connection passes no command on until the server has
// answered. So the server executes it, and no later one:
//
//	client  SET a 1 ─ SET b 2 ─ SET c 3
//	proxy             │ victim   held
//	server  +OK ────── +OK: reset
func (p *Proxy) writeFrames(l *link, dst net.Conn, bytes []byte, count *atomic.Int64) bool {
	c, toServer := &l.commands, dst == l.server
	pending := &c.reply
	if toServer {
		pending = &c.request
	}
	*pending = append(*pending, bytes...)
	for {
		ready, verdict, err := p.complete(c, *pending, toServer)
		if err != nil || ready == 0 && verdict == pass && len(*pending) > maxFrame {
			l.cut(false)
			return false
		}
		if ready > 0 {
			if _, err := dst.Write((*pending)[:ready]); err != nil {
				l.cut(false)
				return false
			}
			count.Add(int64(ready))
			*pending = (*pending)[ready:]
		}
		switch verdict {
		case pass:
			return true
		case lose:
			p.losses.done()
			l.cut(true)
			return false
		}
		if !l.refused(verdict) {
			return false
		}
	}
}

// verdict is what happens after the complete frames have passed: pass, lose, or the channel that is
// closed when the server has refused the last command.
type verdict chan struct{}

var pass, lose = verdict(nil), make(verdict)

// complete returns the number of bytes that pass now.
func (p *Proxy) complete(c *commands, pending []byte, toServer bool) (ready int, then verdict, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n, err := frame(pending[ready:])
		if err != nil || n == 0 {
			return ready, pass, err
		}
		next := pending[ready : ready+n]
		if toServer {
			ready += n
			p.look(next)
			if p.isVictim(c, next) {
				return ready, c.passed, nil
			}
			continue
		}
		if p.isLost(c, next) {
			return ready, lose, nil
		}
		ready += n
	}
}

// isVictim counts a command, and reports whether its answer is to be lost.
func (p *Proxy) isVictim(c *commands, request []byte) bool {
	command := name(request)
	if answersByPush[command] {
		return false
	}
	c.sent++
	if reads[command] || !p.losses.take() {
		return false
	}
	c.victim, c.passed = c.sent, make(verdict)
	return true
}

// isLost counts a reply, and reports whether it is lost. The error of a victim passes.
func (p *Proxy) isLost(c *commands, reply []byte) bool {
	if reply[0] == '>' {
		return false
	}
	c.answered++
	if c.answered != c.victim {
		return false
	}
	c.victim = 0
	if reply[0] != '-' {
		return true
	}
	p.losses.giveBack()
	close(c.passed)
	return false
}

// refused waits until the server has refused the victim. It returns false if the link was cut
// before.
func (l *link) refused(passed verdict) bool {
	select {
	case <-passed:
		return true
	case <-l.done:
		return false
	}
}

// answersByPush has the commands that RESP3 answers with pushes.
var answersByPush = set("SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE")

// reads has the commands that write no key and send no message.
var reads = set("HELLO", "AUTH", "PING", "ECHO", "SELECT", "CLIENT", "INFO", "COMMAND", "CONFIG", "CLUSTER", "ROLE", "READONLY",
	"READWRITE", "SCRIPT", "TIME", "WAIT", "WAITAOF", "QUIT", "RESET", "WATCH", "UNWATCH", "MULTI", "DISCARD", "MEMORY", "OBJECT",
	"DBSIZE", "KEYS", "SCAN", "TYPE", "EXISTS", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "GET", "MGET", "STRLEN", "GETRANGE",
	"HGET", "HMGET", "HGETALL", "HKEYS", "HVALS", "HLEN", "HEXISTS", "HSCAN", "LRANGE", "LLEN", "LINDEX", "SCARD", "SISMEMBER",
	"SMEMBERS", "SSCAN", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZSCORE", "ZRANK", "ZSCAN", "XLEN", "XRANGE", "XREVRANGE",
	"XREAD", "XPENDING", "XINFO", "EVAL_RO", "EVALSHA_RO", "PUBSUB", "ACL", "LATENCY", "SLOWLOG")

func set(names ...string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all
}
