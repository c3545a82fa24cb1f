// Spikes tells of merchants whose payments of a window come to more than three times what ten windows before it came to on average: with
// windows of a minute, to more than three times their ten-minute mean.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

const (
	history  = 10 // windows that make the mean
	earliest = 5  // windows that have to be known before anything counts as a spike
	factor   = 3
)

func init() {
	sdk.OnBatch(add)
	sdk.OnWindow(compare)
}

func main() {}

// sums are cents by merchant: the window's state.
type sums map[string]int64

func sumsOf(state []byte) (sums, error) {
	s := sums{}
	if len(state) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, fmt.Errorf("the window's state: %w", err)
	}
	return s, nil
}

// add adds payments to the window's sums.
func add(_ context.Context, b *sdk.Batch) error {
	s, err := sumsOf(b.State())
	if err != nil {
		return err
	}
	for i, r := range b.All() {
		var p struct {
			Merchant string
			Cents    int64
		}
		if err := json.Unmarshal(r.Data, &p); err != nil || p.Merchant == "" || p.Cents <= 0 {
			b.Reject(i, "not a payment")
			continue
		}
		s[p.Merchant] += p.Cents
	}
	state, err := json.Marshal(s)
	b.SetState(state)
	return err
}

// past is what the state table has of a merchant: its last windows, of which those in which nothing was paid are left out.
type past []window

type window struct {
	Start int64 `json:"start"` // seconds since the Unix epoch
	Cents int64 `json:"cents"`
}

type spike struct {
	Merchant string    `json:"merchant"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Cents    int64     `json:"cents"`
	Mean     int64     `json:"meanCents"` // of the windows before
}

// compare looks at what each merchant's window came to, and remembers it. A window that ends twice, because a host was killed at its end, is remembered
// once, and its spikes come again.
func compare(ctx context.Context, w *sdk.WindowEnd) error {
	s, err := sumsOf(w.State())
	if err != nil {
		return err
	}
	table, at := sdk.State(ctx, "windows"), w.Window()
	oldest := at.Start.Add(-history * at.End.Sub(at.Start)).Unix()
	for _, merchant := range slices.Sorted(maps.Keys(s)) {
		before, err := pastOf(table, merchant)
		if err != nil {
			return err
		}
		before = slices.DeleteFunc(before, func(p window) bool { return p.Start < oldest || p.Start >= at.Start.Unix() })
		if mean, known := before.mean(oldest, at); known && s[merchant] > factor*mean {
			data, err := json.Marshal(spike{merchant, at.Start.UTC(), at.End.UTC(), s[merchant], mean})
			if err != nil {
				return err
			}
			w.Emit("spikes", merchant, data)
		}
		text, err := json.Marshal(append(before, window{at.Start.Unix(), s[merchant]}))
		if err != nil {
			return err
		}
		if err := table.Put(merchant, text); err != nil {
			return err
		}
	}
	return nil
}

func pastOf(table *sdk.Table, merchant string) (past, error) {
	e, err := table.Get(merchant)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p past
	if err := json.Unmarshal(e.Value, &p); err != nil {
		return nil, fmt.Errorf("the windows of %s: %w", merchant, err)
	}
	return p, nil
}

// mean is that of the windows since the first that is known, those without a payment included; known is whether they are enough.
func (p past) mean(oldest int64, at sdk.Window) (cents int64, known bool) {
	if len(p) == 0 {
		return 0, false
	}
	length := int64(at.End.Sub(at.Start) / time.Second)
	windows := (at.Start.Unix() - max(p[0].Start, oldest)) / max(length, 1)
	for _, w := range p {
		cents += w.Cents
	}
	return cents / max(windows, 1), windows >= earliest
}
