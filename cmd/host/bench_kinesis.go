package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// The load of the Kinesis figures: calls of 500 records of 1 KiB, which is what producers send.
const (
	kinesisRecords = 500
	kinesisPutters = 4
	kinesisShard   = "shardId-000000000000"
)

// kinesisBench is the door to AWS's protocol on a host in this process, without connections: clients are outside of what is measured.
type kinesisBench struct {
	*bench
	host    *host
	handler *aws.Handler
}

// kinesis measures Kinesis' protocol: puts, reads and subscriptions, by the processor time that they take.
func (b *bench) kinesis(ctx context.Context) error {
	return b.withHost(ctx, "kinesis", func(h *host) error {
		handler, err := h.openAWS(ctx, prometheus.NewRegistry())
		if err != nil {
			return err
		}
		defer handler.Stop()
		k := &kinesisBench{b, h, handler}
		for _, measure := range []func(context.Context) error{k.puts, k.reads, k.subscription, k.delivery} {
			if err := measure(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// call is one request of an operation; its answer is counted and not kept.
func (k *kinesisBench) call(ctx context.Context, operation, media string, body []byte) (*countedAnswer, error) {
	w := &countedAnswer{header: make(http.Header), wanted: make(chan struct{})}
	return w, k.callInto(ctx, w, operation, media, body)
}

func (k *kinesisBench) callInto(ctx context.Context, w *countedAnswer, operation, media string, body []byte) error {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	k.handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("%s is answered %d: %s", operation, w.status, w.head)
	}
	return nil
}

const (
	kinesisJSON = "application/x-amz-json-1.1"
	kinesisCBOR = "application/x-amz-cbor-1.1"
)

// puts measures PutRecords from the request's bytes to the answer's, with what is acknowledged on disk.
func (k *kinesisBench) puts(ctx context.Context) error {
	type entry struct {
		Data         []byte
		PartitionKey string
	}
	put := struct {
		StreamName string
		Records    []entry
	}{StreamName: "put"}
	for i := range kinesisRecords {
		put.Records = append(put.Records, entry{bytes.Repeat([]byte{byte(i)}, benchData), fmt.Sprint("key-", i)})
	}
	for _, form := range []struct {
		name, media string
		encode      func(any) ([]byte, error)
		goal        float64
	}{{"kinesis.put.json", kinesisJSON, json.Marshal, 200_000}, {"kinesis.put.cbor", kinesisCBOR, cbor.Marshal, 400_000}} {
		body, err := form.encode(put)
		if err != nil {
			return err
		}
		put := func() (int, error) {
			_, err := k.call(ctx, "PutRecords", form.media, body)
			return kinesisRecords, err
		}
		rate, err := k.putRounds(ctx, put)
		if err != nil {
			return err
		}
		if err := k.report(measured(form.name, rate, "records/cpu-s").atLeast(form.goal)); err != nil {
			return err
		}
	}
	return nil
}

// kinesisRound is how long a stream is put to before it is made anew, so that its segments are written to space that was written before:
// what the disk takes into other space is put.single256.fresh.
const kinesisRound = 400 * time.Millisecond

// putRounds is the median of some rounds behind one that is not counted.
func (k *kinesisBench) putRounds(ctx context.Context, put func() (int, error)) (float64, error) {
	rates := make([]float64, 1+k.rounds(3, 9))
	for i := range rates {
		if _, _, err := k.host.streams.Create(ctx, shards.Config{Name: "put", Shards: 4}); err != nil {
			return 0, err
		}
		rate, err := k.perCPU(kinesisPutters, kinesisRound, put)
		if err := errors.Join(err, k.host.streams.Delete(ctx, "put")); err != nil {
			return 0, err
		}
		rates[i] = rate
	}
	counted := rates[1:]
	slices.Sort(counted)
	return counted[len(counted)/2], nil
}

// perCPU runs work side by side for a span and gives what it did per second of this process's processor time.
func (k *kinesisBench) perCPU(workers int, span time.Duration, work func() (done int, err error)) (float64, error) {
	var total atomic.Int64
	var failed error
	var once sync.Once
	var working sync.WaitGroup
	begin, used := time.Now(), processorTime()
	for range workers {
		working.Go(func() {
			for time.Since(begin) < span {
				n, err := work()
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				total.Add(int64(n))
			}
		})
	}
	working.Wait()
	return float64(total.Load()) / (processorTime() - used).Seconds(), failed
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reads measures GetRecords in pages of 4 MiB.
func (k *kinesisBench) reads(ctx context.Context) error {
	st, err := k.filled(ctx, "get", 8)
	if err != nil {
		return err
	}
	rec := httptest.NewRecorder()
	ask := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(fmt.Appendf(nil, `{"StreamName":%q,"ShardId":%q,"ShardIteratorType":"TRIM_HORIZON"}`, st, kinesisShard)))
	ask.Header.Set("Content-Type", kinesisJSON)
	ask.Header.Set("X-Amz-Target", "Kinesis_20131202.GetShardIterator")
	k.handler.ServeHTTP(rec, ask)
	rate, err := k.perCPU(1, k.span(500*time.Millisecond, 4*time.Second), func() (int, error) {
		_, err := k.call(ctx, "GetRecords", kinesisJSON, rec.Body.Bytes())
		return 8 * kinesisRecords * benchData, err
	})
	if err != nil {
		return err
	}
	return k.report(measured("kinesis.get.json", rate/1e6, "MB/cpu-s").atLeast(300))
}

// filled makes a stream of one shard with some times 500 records in it.
func (k *kinesisBench) filled(ctx context.Context, name string, times int) (string, error) {
	if _, _, err := k.host.streams.Create(ctx, shards.Config{Name: name}); err != nil {
		return name, err
	}
	st, err := k.host.streams.Stream(name)
	if err != nil {
		return name, err
	}
	records := make([]record.Record, kinesisRecords)
	for i := range records {
		records[i] = record.Record{Key: []byte("key"), Data: bytes.Repeat([]byte{byte(i)}, benchData)}
	}
	for range times {
		if _, err := st.Put(ctx, records, nil); err != nil {
			return name, err
		}
	}
	return name, nil
}

// subscribe is the body of a SubscribeToShard of a new consumer.
func (k *kinesisBench) subscribe(ctx context.Context, stream, consumer, from string) ([]byte, error) {
	if _, err := k.host.streams.RegisterConsumer(ctx, stream, consumer, nil); err != nil {
		return nil, err
	}
	d, err := k.host.streams.Describe(ctx, stream)
	if err != nil {
		return nil, err
	}
	arn := fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s/consumer/%s:%d", aws.DefaultRegion, aws.DefaultAccount, stream, consumer,
		d.Consumers[len(d.Consumers)-1].Created.Unix())
	return fmt.Appendf(nil, `{"ConsumerARN":%q,"ShardId":%q,"StartingPosition":{"Type":%q}}`, arn, kinesisShard, from), nil
}

// subscription measures a subscription that reads what is stored, from the log's bytes to the answer's.
func (k *kinesisBench) subscription(ctx context.Context) error {
	times := int(k.span(32, 256))
	st, err := k.filled(ctx, "subscribe", times)
	if err != nil {
		return err
	}
	body, err := k.subscribe(ctx, st, "bench", "TRIM_HORIZON")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stored := times * kinesisRecords * benchData
	w := &countedAnswer{header: make(http.Header), wanted: make(chan struct{}), want: stored / 3 * 4} // in base64
	var answering sync.WaitGroup
	var failed error
	used := processorTime()
	answering.Go(func() { failed = k.callInto(ctx, w, "SubscribeToShard", kinesisJSON, body) })
	select {
	case <-w.wanted:
	case <-time.After(time.Minute):
		failed = errors.New("the subscription did not come to its end in a minute")
	}
	took := processorTime() - used
	cancel()
	answering.Wait()
	if failed != nil {
		return failed
	}
	return k.report(measured("kinesis.subscribe", float64(stored)/1e6/took.Seconds(), "MB/cpu-s").atLeast(300))
}

// delivery measures how long after a put's acknowledgement its event is in the hands of a subscriber, over HTTP.
func (k *kinesisBench) delivery(ctx context.Context) error {
	st, err := k.filled(ctx, "deliver", 1)
	if err != nil {
		return err
	}
	body, err := k.subscribe(ctx, st, "bench", "LATEST")
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, k.host.url(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kinesisJSON)
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.SubscribeToShard")
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	stream, err := k.host.streams.Stream(st)
	if err != nil {
		return err
	}
	times := make([]time.Duration, int(k.span(500, 5000)))
	for i := range times {
		if _, err := stream.Put(ctx, []record.Record{{Key: []byte("key"), Data: make([]byte, benchData)}}, nil); err != nil {
			return err
		}
		acknowledged := time.Now()
		if err := nextEvent(answer.Body, benchData); err != nil {
			return err
		}
		times[i] = time.Since(acknowledged)
	}
	slices.Sort(times)
	return k.report(measured("kinesis.subscribe.p50", 1e3*times[len(times)/2].Seconds(), "ms").atMost(2))
}

// nextEvent reads events of a subscription until one has at least so many bytes: the others hold no record.
func nextEvent(answer io.Reader, least int) error {
	for {
		var head [4]byte // how long the event is, itself included
		if _, err := io.ReadFull(answer, head[:]); err != nil {
			return err
		}
		length := int64(binary.BigEndian.Uint32(head[:]))
		if _, err := io.CopyN(io.Discard, answer, length-int64(len(head))); err != nil {
			return err
		}
		if length >= int64(least) {
			return nil
		}
	}
}

// countedAnswer is an http.ResponseWriter that counts an answer's bytes and keeps the first of them.
type countedAnswer struct {
	header http.Header
	status int
	size   int
	head   []byte
	want   int // wanted is closed when as many bytes have come; 0: never
	wanted chan struct{}
}

// Header is what the handler sets.
func (w *countedAnswer) Header() http.Header { return w.header }

// WriteHeader keeps the status.
func (w *countedAnswer) WriteHeader(status int) { w.status = status }

// Write counts.
func (w *countedAnswer) Write(p []byte) (int, error) {
	if w.head == nil {
		w.head = bytes.Clone(p[:min(len(p), 200)])
	}
	if before := w.size; w.want > 0 && before < w.want && before+len(p) >= w.want {
		close(w.wanted)
	}
	w.size += len(p)
	return len(p), nil
}

// Flush does nothing: there is no connection.
func (w *countedAnswer) Flush() {}
