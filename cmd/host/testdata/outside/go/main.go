// Outside asks the host for what a direct invocation says; see ../README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	slog.SetDefault(slog.New(sdk.NewLogHandler(slog.LevelDebug)))
	sdk.OnInvoke(answer)
	sdk.OnBatch(func(ctx context.Context, b *sdk.Batch) error {
		for i, r := range b.All() {
			said, err := answer(ctx, r.Data)
			if err != nil {
				return err
			}
			b.Reject(i, string(said))
		}
		return nil
	})
}

func main() {}

// codes are the words for the errors of package sdk.
var codes = map[error]string{
	sdk.ErrDenied: "denied", sdk.ErrNotFound: "not found", sdk.ErrConflict: "conflict", sdk.ErrInvalid: "invalid", sdk.ErrUnavailable: "unavailable",
}

var errAsked = errors.New("as asked")

func answer(ctx context.Context, body []byte) ([]byte, error) {
	text, err := do(ctx, string(body))
	if err == errAsked {
		return nil, err
	}
	for known, code := range codes {
		if errors.Is(err, known) {
			_, says, _ := strings.Cut(err.Error(), known.Error()+": ")
			return []byte(code + ": " + says), nil
		}
	}
	return []byte(text), err
}

func do(ctx context.Context, body string) (string, error) {
	words := append(strings.SplitN(body, " ", 4), "", "", "")
	command, first, second, third := words[0], words[1], words[2], words[3]
	switch command {
	case "secret":
		value, err := sdk.Secret(ctx, first)
		return string(value), err
	case "env":
		return os.Getenv(first), nil
	case "fetch":
		return fetch(ctx, &sdk.Request{Method: first, URL: second, Header: []sdk.Header{{Name: "X-Guest", Value: "outside"}}, Body: []byte(third)})
	case "slow":
		return fetch(ctx, &sdk.Request{URL: first, Timeout: 50 * time.Millisecond})
	case "deadline":
		if at, ok := ctx.Deadline(); ok && time.Now().Before(at) {
			return "ahead", nil
		}
		return "", nil
	case "log":
		slog.Warn("from outside", "language", "a \"language\"", "text", "späte Flüge")
		return "", nil
	}
	return state(sdk.State(ctx, first), command, second, third)
}

func fetch(ctx context.Context, r *sdk.Request) (string, error) {
	a, err := sdk.Fetch(ctx, r)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s %s", a.Status, a.Get("x-server"), a.Body), nil
}

func state(t *sdk.Table, command, key, value string) (string, error) {
	switch command {
	case "get":
		e, err := t.Get(key)
		return string(e.Value), err
	case "put":
		return "done", t.Put(key, []byte(value))
	case "delete":
		return "done", t.Delete(key)
	case "add":
		_, err := t.CAS(key, []byte(value), sdk.Absent)
		return "done", err
	case "fill":
		n, _ := strconv.Atoi(value)
		for i := range n {
			if err := t.Put(key+strconv.Itoa(i), []byte("value")); err != nil {
				return "", err
			}
		}
		return "done", nil
	case "list", "sum", "sweep":
		return list(t, command, key)
	case "fail":
		if err := t.Put(key, []byte(value)); err != nil {
			return "", err
		}
		return "", errAsked
	}
	return byRevision(t, command, key, value)
}

func byRevision(t *sdk.Table, command, key, value string) (string, error) {
	e, err := t.Get(key)
	if err != nil {
		return "", err
	}
	switch command {
	case "swap":
		revision, err := t.CAS(key, []byte(value), e.Revision)
		if err == nil {
			_, err = t.CAS(key, nil, revision)
		}
		return "done", err
	case "drop":
		return "done", t.CASDelete(key, e.Revision)
	}
	if err := t.Put(key, nil); err != nil {
		return "", err
	}
	if command == "late" {
		return "done", t.CASDelete(key, e.Revision)
	}
	_, err = t.CAS(key, []byte(value), e.Revision)
	return "done", err
}

func list(t *sdk.Table, command, prefix string) (text string, err error) {
	n, size := 0, 0
	for e, err := range t.List(prefix) {
		if err != nil {
			return "", err
		}
		n++
		size += len(e.Key) + len(e.Value)
		switch command {
		case "list":
			text += e.Key + "=" + string(e.Value) + " "
		case "sweep":
			if err := t.CASDelete(e.Key, e.Revision); err != nil {
				return "", err
			}
		}
	}
	switch command {
	case "sum":
		text = fmt.Sprint(n, " ", size)
	case "sweep":
		text = "done"
	}
	return text, nil
}
