package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a long piece of work has come, on standard error and only to a terminal. Its zero bar
// shows nothing.
type progress struct {
	bar *progressbar.ProgressBar
	app *app
}

// newByteProgress starts a bar of total bytes; total -1 means that the end is not known.
func (a *app) newByteProgress(label string, total int64) *progress {
	return a.newProgress(label, total, progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true))
}

// newCountProgress starts a bar of total records.
func (a *app) newCountProgress(label string, total int64) *progress {
	return a.newProgress(label, total, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"))
}

func (a *app) newProgress(label string, total int64, unit ...progressbar.Option) *progress {
	if !a.errTerminal {
		return &progress{}
	}
	bar := progressbar.NewOptions64(total, append(unit,
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetDescription(label),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65*time.Millisecond),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
	)...)
	a.bar.Store(bar)
	return &progress{bar, a}
}

// set says how far the work has come.
func (p *progress) set(n int64) {
	if p.bar != nil {
		_ = p.bar.Set64(n)
	}
}

// reader counts what is read through it.
func (p *progress) reader(r io.Reader) io.Reader {
	if p.bar == nil {
		return r
	}
	return io.TeeReader(r, p.bar)
}

// done removes the bar.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.app.bar.Store(nil)
	}
}
