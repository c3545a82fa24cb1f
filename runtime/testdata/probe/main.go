// Probe is a function that misbehaves on demand: the body of a direct invocation says how. A batch has its records
// passed on to the stream named by their key, or gets an outcome.
package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

var (
	calls int
	kept  [][]byte
)

func init() {
	sdk.OnInvoke(invoke)
	sdk.OnBatch(batch)
	sdk.OnTransform(transform)
}

func main() {}

func invoke(ctx context.Context, in []byte) ([]byte, error) {
	calls++
	verb, rest, _ := strings.Cut(string(in), " ")
	n, _ := strconv.Atoi(rest)
	switch verb {
	case "echo":
		return []byte(rest), nil
	case "calls":
		return strconv.AppendInt(nil, int64(calls), 10), nil
	case "call":
		c := sdk.FromContext(ctx)
		return fmt.Appendf(nil, "%s %d %s", c.Function, c.Version, c.Invocation), nil
	case "error":
		return nil, errors.New(rest)
	case "panic":
		deeper(rest)
	case "fatal":
		go func() { panic(rest) }()
		time.Sleep(time.Second)
	case "exit":
		os.Exit(n)
	case "spin":
		spin()
	case "clock":
		for time.Now().Unix() != 0 {
			calls++
		}
	case "fill":
		for b := make([]byte, 16<<20); calls >= 0; calls++ {
			clear(b)
		}
	case "deep":
		for {
			calls += deep(1000)
		}
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond)
	case "allocate":
		for {
			kept = append(kept, make([]byte, 1<<20))
		}
	case "grow":
		kept = append(kept, make([]byte, n))
		kept[len(kept)-1][n-1] = 1
	case "recurse":
		return strconv.AppendInt(nil, int64(recurse(1)), 10), nil
	case "collect":
		kept = nil
		runtime.GC()
	case "reply":
		return make([]byte, n), nil
	case "log":
		for i := range n {
			fmt.Println("line", i)
		}
	case "print":
		fmt.Print(rest)
	case "complain":
		fmt.Fprintln(os.Stderr, rest)
	case "dice": // says what differs from run to run
		fmt.Println("rolling")
		return []byte(dice()), nil
	case "dice-fail":
		sdk.Emit(ctx, "out", "key", []byte(dice()))
		return nil, errors.New(dice())
	case "dice-later": // with what an instance reads once
		if cached == "" {
			var b [16]byte
			_, _ = crand.Read(b[:])
			cached = fmt.Sprintf("%d %x", time.Now().UnixNano(), b)
		}
		return nil, errors.New(cached + " " + dice())
	case "count-fail":
		return nil, fmt.Errorf("call %d of this instance", calls)
	case "emit":
		stream, data, _ := strings.Cut(rest, " ")
		sdk.Emit(ctx, stream, "key", []byte(data))
	case "emit-and-fail":
		sdk.Emit(ctx, rest, "key", []byte("x"))
		return nil, errors.New("failed after emitting")
	}
	return nil, nil
}

//go:noinline
func deeper(text string) { panic(text) }

//go:noinline
func spin() {
	for i := 0; ; i++ {
		calls += i
	}
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		return 1
	}
	return deep(n-1) + 1
}

//go:noinline
func recurse(n int) int {
	var pad [1024]byte
	pad[n%1024] = 1
	return recurse(n+1) + int(pad[(n+1)%1024])
}

func batch(_ context.Context, b *sdk.Batch) error {
	for i, r := range b.All() {
		switch verb, reason, _ := strings.Cut(string(r.Data), " "); verb {
		case "burn":
			n, _ := strconv.Atoi(reason)
			burn(n)
		case "drop":
			b.Drop(i, reason)
		case "retry":
			b.Retry(i, reason)
		case "reject":
			b.Reject(i, reason)
		case "emit":
			b.EmitRecord(string(r.Key), r)
		case "fail":
			return errors.New(reason)
		}
	}
	return nil
}

//go:noinline
func burn(n int) (sum int) {
	for i := range n {
		sum ^= i
	}
	return sum
}

// dice is made of the clocks, random numbers and the order of a map.
func dice() string {
	text := fmt.Sprint(time.Now().UnixNano(), " ", rand.Int64(), " ", time.Since(began))
	for k := range map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9} {
		text += fmt.Sprint(" ", k)
	}
	return text
}

var (
	began  = time.Now()
	cached string
)

// transform does what each record's data says.
func transform(_ context.Context, t *sdk.Transform) error {
	if view != nil {
		fmt.Printf("kept %x\n", view)
	}
	for i, r := range t.All() {
		verb, rest, _ := strings.Cut(string(r.Data), " ")
		switch verb {
		case "drop":
			t.Drop(i, rest)
		case "reject":
			t.Replace(i, r)
			t.Reject(i, rest)
		case "replace":
			r.Data = []byte(rest)
			t.Replace(i, r)
		case "split":
			for part := range strings.SplitSeq(rest, " ") {
				t.Replace(i, sdk.Record{Key: []byte(part), Data: []byte(part)})
			}
		case "backwards":
			t.Replace(t.Len()-1, sdk.Record{Key: r.Key, Data: []byte(rest)})
			t.Replace(i, r)
		case "emit":
			t.EmitRecord(rest, r)
		case "keep":
			view = r.Data
		case "fail":
			return errors.New(rest)
		}
	}
	return nil
}

var view []byte // that a transform has kept, and should not have
