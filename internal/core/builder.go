package core

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"
)

// builder makes command builders without a connection. The client library hands builders out of connected
// clients only, and a cluster's must compute slots; so one is connected, once, to a conversation of fixed answers.
func builder(cluster bool) rueidis.Builder {
	if cluster {
		return clusterBuilder()
	}
	return singleBuilder()
}

var (
	clusterBuilder = sync.OnceValue(func() rueidis.Builder { return fixedBuilder(false) })
	singleBuilder  = sync.OnceValue(func() rueidis.Builder { return fixedBuilder(true) })
)

func fixedBuilder(single bool) rueidis.Builder {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{"127.0.0.1:1"},
		DisableCache:      true,
		ForceSingleClient: single,
		ClientSetInfo:     rueidis.DisableClientSetInfo,
		DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go answerFixed(ours)
			return theirs, nil
		},
	})
	if err != nil {
		panic("redstart: the client library refused a fixed conversation: " + err.Error())
	}
	defer client.Close()
	return client.B()
}

// answerFixed answers HELLO and CLUSTER SLOTS as a one-node cluster would, and OK to the rest.
func answerFixed(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		answer := "+OK\r\n"
		switch strings.ToUpper(args[0]) {
		case "HELLO":
			answer = "%2\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n"
		case "CLUSTER":
			answer = "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:1\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r)
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r)
		if err != nil {
			return nil, err
		}
		buf := make([]byte, size+2)
		if _, err := io.ReadFull(r, buf); err != nil {
			return nil, err
		}
		args[i] = string(buf[:size])
	}
	return args, nil
}

func readLength(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}
