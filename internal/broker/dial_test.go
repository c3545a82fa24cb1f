package broker

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// greeter is a server that answers the greeting of each connection with what comes next in answers.
type greeter struct {
	t       *testing.T
	answers []string
	work    sync.WaitGroup
}

func (g *greeter) InProcessConn() (net.Conn, error) {
	ours, theirs := net.Pipe()
	answer := g.answers[0]
	g.answers = g.answers[1:]
	g.work.Go(func() {
		defer ours.Close()
		if _, err := ours.Write([]byte("INFO {\"max_payload\":1024,\"proto\":1}\r\n")); err != nil {
			g.t.Error(err)
		}
		for lines := bufio.NewScanner(ours); lines.Scan(); {
			if lines.Text() != "PING" {
				continue
			}
			if _, err := ours.Write([]byte(answer + "\r\n")); err != nil || answer != "PONG" {
				return
			}
		}
	})
	return theirs, nil
}

func TestDialIsRepeatedOnABusyMachine(t *testing.T) {
	g := &greeter{t: t, answers: []string{"PING", "PING", "PONG"}}
	conn, err := dial(nats.InProcessServer(g), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	g.work.Wait()
	g.answers = []string{"-ERR 'no room'", "PONG"}
	if _, err = dial(nats.InProcessServer(g), nats.NoReconnect()); err == nil || !strings.Contains(err.Error(), "no room") || len(g.answers) != 1 {
		t.Errorf("a server that refuses: %v, and %d answers left", err, len(g.answers))
	}
	g.work.Wait()
}
