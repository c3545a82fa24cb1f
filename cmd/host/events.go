package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shardmill/shardmill/api"
)

// putEvents puts the newline-delimited JSON of a file ("-": standard input) to a stream, one record a line, and shows
// how far it is. gzip is recognized by its first bytes.
func (a *app) putEvents(ctx context.Context, c *api.Client, stream, file, key string) (api.PutAnswer, error) {
	in, size, err := a.openInput(file)
	if err != nil {
		return api.PutAnswer{}, err
	}
	defer in.Close()
	bar := a.newByteProgress("put "+stream, size)
	defer bar.done()
	events, err := gunzip(bar.reader(in))
	if err != nil {
		return api.PutAnswer{}, fmt.Errorf("%s: %w", file, err)
	}
	watched := &readError{r: events}
	answer, err := c.PutLines(ctx, stream, watched, api.LineOptions{Key: keyPointer(key)})
	if watched.err != nil { // the reason why the request broke off, rather than that it did
		return answer, fmt.Errorf("%s: %w", file, watched.err)
	}
	if err != nil && !errors.As(err, new(*api.Problem)) && ctx.Err() == nil {
		err = fmt.Errorf("%w; how many of the records are on disk is not known: \"shardmill stream tail %s --from 5m\" shows what came, and putting all again is safe but for duplicates", err, stream)
	}
	return answer, err
}

// gunzip reads r, unpacked when it is gzip.
func gunzip(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	return gzip.NewReader(b)
}

// readError remembers why reading failed.
type readError struct {
	r   io.Reader
	err error
}

func (e *readError) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// putFailed is the failure of a put in which records were refused; the rest are stored.
func putFailed(answer api.PutAnswer) error {
	if answer.Failed == 0 {
		return nil
	}
	first := ""
	if len(answer.Failures) > 0 {
		f := answer.Failures[0]
		first = fmt.Sprintf("; the first is line %d: %s", f.Line, f.Message)
	}
	return fmt.Errorf("%s of %s refused%s", thousands(answer.Failed), plural(answer.Put+answer.Failed, "record was", "records were"), first)
}
