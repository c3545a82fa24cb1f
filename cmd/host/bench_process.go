package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/shardmill/shardmill/api"
)

// child is a host in a process of its own, as an operator runs it.
type child struct {
	cmd    *exec.Cmd
	client *api.Client
}

// startChild starts `shardmill serve` on a folder and free ports and waits until it answers.
func (b *bench) startChild(ctx context.Context, name string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve", "--data-dir", filepath.Join(b.dir, name), "--listen", listen, "--admin-listen", freePort, "--log-level", "warn")
	cmd.Stderr = b.a.err
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	client, err := api.NewClient("http://"+listen, api.ClientOptions{})
	if err != nil {
		return nil, errors.Join(err, cmd.Cancel(), cmd.Wait())
	}
	c := &child{cmd, client}
	deadline, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	for {
		if _, err = client.Version(deadline); err == nil {
			return c, nil
		}
		select {
		case <-deadline.Done():
			return nil, errors.Join(fmt.Errorf("the host does not answer: %w", err), c.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *child) stop() error {
	c.client.Close()
	return errors.Join(c.cmd.Cancel(), c.cmd.Wait())
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", freePort)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// event is one NDJSON event of 200 bytes, its newline included.
func event(i int64) string {
	head := fmt.Sprintf(`{"origin":"K%03d","destination":"LAX","flight":%d,"note":"`, i%1000, i)
	return head + strings.Repeat("x", 200-len(head)-3) + "\"}\n"
}

// http measures events of 200 bytes over HTTP, as NDJSON with a partition key from a field, against a host in another process.
func (b *bench) http(ctx context.Context) (err error) {
	c, err := b.startChild(ctx, "http")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop(), os.RemoveAll(filepath.Join(b.dir, "http"))) }()
	if _, _, err := c.client.CreateStream(ctx, "events", api.StreamConfig{Shards: 4}); err != nil {
		return err
	}
	events, large := int64(2_000_000), int64(1<<30)
	if b.quick {
		events, large = 400_000, 128<<20
	}
	rate, _, err := b.lines(ctx, c, 50_000) // warm
	if err == nil {
		rate, _, err = b.lines(ctx, c, events)
	}
	if err != nil {
		return err
	}
	if err := b.report(measured("http.ndjson", rate, "events/s").atLeast(150_000)); err != nil {
		return err
	}
	before, known := c.memory()
	if !known {
		b.a.say("left out: a process's memory is not known on this system")
		return nil
	}
	_, peak, err := b.lines(ctx, c, large/200)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("http.ndjson.%dmb.growth", large>>20)
	return b.report(measured(name, float64(peak-before)/(1<<20), "MiB").atMost(128))
}

// lines puts n events in one request and returns the rate and the host's highest memory meanwhile.
func (b *bench) lines(ctx context.Context, c *child, n int64) (rate float64, peak int64, err error) {
	r, w := io.Pipe()
	go func() {
		// A block of lines is made once and sent again and again, so that making events is not what is measured.
		var block strings.Builder
		for i := range int64(1000) {
			block.WriteString(event(i))
		}
		out := bufio.NewWriterSize(w, 1<<20)
		var err error
		for left := n; left > 0 && err == nil; left -= 1000 {
			_, err = io.WriteString(out, block.String()[:min(left, 1000)*200])
		}
		w.CloseWithError(errors.Join(err, out.Flush()))
	}()
	began := time.Now()
	answer, err := c.client.PutLines(ctx, "events", r, api.LineOptions{Key: "/origin", Progress: func(int64) {
		now, _ := c.memory()
		peak = max(peak, now)
	}})
	r.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return 0, 0, err
	}
	if answer.Put != n {
		return 0, 0, fmt.Errorf("%d of %d events were put", answer.Put, n)
	}
	return float64(n) / time.Since(began).Seconds(), peak, nil
}

// idle measures what 1,000 shards with one mapping cost a host that has nothing to do.
func (b *bench) idle(ctx context.Context) (err error) {
	c, err := b.startChild(ctx, "idle")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop(), os.RemoveAll(filepath.Join(b.dir, "idle"))) }()
	if _, known := c.memory(); !known {
		b.a.say("left out: a process's memory and CPU time are not known on this system")
		return nil
	}
	if _, _, err := c.client.CreateStream(ctx, "idle", api.StreamConfig{Shards: 1000}); err != nil {
		return err
	}
	if _, _, err := c.client.Deploy(ctx, "idle", strings.NewReader(string(echoModule)), api.FunctionConfig{Emit: []string{"idle-out"}}); err != nil {
		return err
	}
	if _, _, err := c.client.PutMapping(ctx, "idle", api.MappingConfig{Stream: "idle", Function: "idle"}); err != nil {
		return err
	}
	span := b.span(5*time.Second, 30*time.Second)
	if err := pause(ctx, time.Second); err != nil { // until starting is over
		return err
	}
	before, _ := c.cpu()
	if err := pause(ctx, span); err != nil {
		return err
	}
	after, _ := c.cpu()
	memory, _ := c.memory()
	return errors.Join(
		b.report(measured("idle.1000.memory", float64(memory)/(1<<20), "MiB")),
		b.report(measured("idle.1000.cpu", 100*float64(after-before)/float64(span), "% of core").atMost(5)),
	)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// memory is the process's resident memory in bytes, where /proc tells it.
func (c *child) memory() (bytes int64, known bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(status))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err == nil
}

// cpu is the processor time that the process has used, where /proc tells it.
func (c *child) cpu() (used time.Duration, known bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const perSecond = 100 // USER_HZ, the same on every Linux
	return time.Duration(user+system) * time.Second / perSecond, err1 == nil && err2 == nil
}
