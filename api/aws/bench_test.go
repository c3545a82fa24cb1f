package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/bytedance/sonic"
	"github.com/fxamacker/cbor/v2"
	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/shards"
)

// The load of the figures: 500 records of 1 KiB each.
const (
	benchRecords = 500
	benchSize    = 1 << 10
)

// wireEntry and wirePut are what the candidates for decoding decode into.
type wireEntry struct {
	Data            []byte
	PartitionKey    string
	ExplicitHashKey string `json:",omitempty"`
}

type wirePut struct {
	Records    []wireEntry
	StreamName string
}

func benchPut() wirePut {
	p := wirePut{StreamName: "s"}
	for i := range benchRecords {
		p.Records = append(p.Records, wireEntry{Data: bytes.Repeat([]byte{byte(i)}, benchSize), PartitionKey: fmt.Sprintf("key-%04d", i)})
	}
	return p
}

func benchBodies(b testing.TB) (jsonBody, cborBody []byte) {
	jsonBody, err := json.Marshal(benchPut())
	if err != nil {
		b.Fatal(err)
	}
	if cborBody, err = cbor.Marshal(benchPut()); err != nil {
		b.Fatal(err)
	}
	return jsonBody, cborBody
}

// BenchmarkDecode compares the candidates for PutRecords.
func BenchmarkDecode(b *testing.B) {
	jsonBody, cborBody := benchBodies(b)
	own := func(c codec) func(body []byte) error {
		var p putRequest
		return func(body []byte) error {
			p.reset()
			if !c.readPut(body, &p, true) || len(p.records) != benchRecords {
				return fmt.Errorf("%d records", len(p.records))
			}
			return nil
		}
	}
	into := func(decode func([]byte, any) error) func([]byte) error {
		return func(body []byte) error { return decode(body, new(wirePut)) }
	}
	for _, bench := range []struct {
		name   string
		body   []byte
		decode func([]byte) error
	}{
		{"json/own", jsonBody, own(jsonCodec{media: typeJSON})},
		{"json/sonic", jsonBody, into(func(b []byte, v any) error { return sonic.ConfigDefault.Unmarshal(b, v) })},
		{"json/v2", jsonBody, into(func(b []byte, v any) error { return json.Unmarshal(b, v) })},
		{"cbor/own", cborBody, own(cborCodec{})},
		{"cbor/fxamacker", cborBody, into(cbor.Unmarshal)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(benchRecords * benchSize)
			for b.Loop() {
				if err := bench.decode(bench.body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// quietWriter is an http.ResponseWriter that keeps the size of the answer only.
type quietWriter struct {
	header http.Header
	status int
	size   int
}

func (w *quietWriter) Header() http.Header         { return w.header }
func (w *quietWriter) WriteHeader(status int)      { w.status = status }
func (w *quietWriter) Write(p []byte) (int, error) { w.size += len(p); return len(p), nil }
func (w *quietWriter) Flush()                      {}

// request is a call of an operation without a connection.
func request(operation, media string, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	r.Header.Set("X-Amz-Target", targetPrefix+operation)
	return r
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportPerCore reports records and megabytes per second of CPU time, of the whole process.
func reportPerCore(b *testing.B, since time.Duration, records, size float64) {
	used := (cpuTime() - since).Seconds()
	b.ReportMetric(records*float64(b.N)/used, "records/cpu-s")
	b.ReportMetric(size*float64(b.N)/1e6/used, "MB/cpu-s")
}

// BenchmarkPutRecords is the whole handler: decode, put on disk, encode; four at a time.
func BenchmarkPutRecords(b *testing.B) {
	jsonBody, cborBody := benchBodies(b)
	for _, bench := range []struct {
		name, media string
		body        []byte
	}{{"json", typeJSON, jsonBody}, {"cbor", typeCBOR, cborBody}} {
		b.Run(bench.name, func(b *testing.B) {
			r := newRig(b)
			r.stream("s", 4)
			b.ReportAllocs()
			b.SetBytes(benchRecords * benchSize)
			b.SetParallelism(2)
			since := cpuTime()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w := &quietWriter{header: make(http.Header)}
					r.handler.ServeHTTP(w, request("PutRecords", bench.media, bench.body))
					if w.status != http.StatusOK {
						b.Errorf("answered %d", w.status)
					}
				}
			})
			reportPerCore(b, since, benchRecords, benchRecords*benchSize)
		})
	}
}

// BenchmarkGetRecords reads pages of 4 MiB.
func BenchmarkGetRecords(b *testing.B) {
	for _, media := range []string{typeJSON, typeCBOR} {
		b.Run(strings.TrimPrefix(media, "application/x-amz-"), func(b *testing.B) {
			r := newRig(b)
			st := benchFill(b, r, 8)
			body, err := json.Marshal(map[string]any{"ShardIterator": *r.iterator("s", firstShard)})
			if err != nil {
				b.Fatal(err)
			}
			if media == typeCBOR {
				if body, err = cbor.Marshal(map[string]any{"ShardIterator": iteratorAt(st, 0, ok(st.Reader(0, shards.Start{}))(b).Position()).String()}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			since := cpuTime()
			for b.Loop() {
				w := &quietWriter{header: make(http.Header)}
				r.handler.ServeHTTP(w, request("GetRecords", media, body))
				if w.status != http.StatusOK || w.size < 8*benchRecords*benchSize {
					b.Fatalf("answered %d with %d bytes", w.status, w.size)
				}
			}
			reportPerCore(b, since, 8*benchRecords, 8*benchRecords*benchSize)
		})
	}
}

// benchFill puts some times 500 records into one shard.
func benchFill(b testing.TB, r *rig, times int) *shards.Stream {
	b.Helper()
	r.stream("s", 1)
	st := ok(r.store.Stream("s"))(b)
	p := putRequest{}
	body, _ := benchBodies(b)
	for range times {
		p.reset()
		if !(jsonCodec{}).readPut(body, &p, true) {
			b.Fatal("not read")
		}
		ok(st.Put(r.ctx, p.records, nil))(b)
	}
	return st
}

// BenchmarkSubscribe makes the events of what a pump reads.
func BenchmarkSubscribe(b *testing.B) {
	r := newRig(b)
	st := benchFill(b, r, 8)
	since := cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		reader := ok(st.Reader(0, shards.Start{}))(b)
		enc, read := encoder{st, 0, r.store.Describe}, 0
		for {
			run, more, err := reader.TryNext()
			if err != nil {
				b.Fatal(err)
			}
			if !more {
				break
			}
			for run.Len() > 0 {
				head, rest := cutEvent(run)
				e := enc.encode(nil, head, 0)
				read += head.Len()
				if _, err := io.Discard.Write(e.frame); err != nil {
					b.Fatal(err)
				}
				run = rest
			}
		}
		if read != 8*benchRecords {
			b.Fatalf("%d records", read)
		}
	}
	reportPerCore(b, since, 8*benchRecords, 8*benchRecords*benchSize)
}

// BenchmarkBase64 is the part of JSON that the standard library does.
func BenchmarkBase64(b *testing.B) {
	data := bytes.Repeat([]byte("0123456789abcdef"), benchSize/16)
	text := []byte(base64.StdEncoding.EncodeToString(data))
	into := make([]byte, 2*benchSize)
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			if _, err := strictBase64.Decode(into, text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			base64.StdEncoding.Encode(into, data)
		}
	})
}

// BenchmarkDelivery is the time from a put's acknowledgement to the event in the SDK's hands.
func BenchmarkDelivery(b *testing.B) {
	r := newRig(b)
	name := r.stream("s", 1)
	s := r.subscribe(r.consumer(name, "c"), firstShard, types.ShardIteratorTypeLatest)
	var took []time.Duration
	for b.Loop() {
		r.put(name, "x", 1)
		acknowledged := time.Now()
		records(b, s, 1)
		took = append(took, time.Since(acknowledged))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkFanOut puts for subscriptions that only read: what ten cost more than one is writing to ten connections.
func BenchmarkFanOut(b *testing.B) {
	for _, consumers := range []int{1, 10} {
		b.Run(fmt.Sprint(consumers), func(b *testing.B) {
			r := newRig(b)
			name := r.stream("s", 1)
			st := ok(r.store.Stream(name))(b)
			ctx, cancel := context.WithCancel(r.ctx)
			var all sync.WaitGroup
			defer all.Wait()
			defer cancel()
			for i := range consumers {
				body := fmt.Sprintf(`{"ConsumerARN":%q,"ShardId":%q,"StartingPosition":{"Type":"LATEST"}}`, r.consumer(name, fmt.Sprint("c", i)), firstShard)
				all.Go(func() {
					w := &quietWriter{header: make(http.Header)}
					r.handler.ServeHTTP(w, request("SubscribeToShard", typeJSON, []byte(body)).WithContext(ctx))
				})
			}
			var p putRequest
			body, _ := benchBodies(b)
			if !(jsonCodec{}).readPut(body, &p, true) {
				b.Fatal("not read")
			}
			since := cpuTime()
			for b.Loop() {
				ok(st.Put(r.ctx, p.records, nil))(b)
			}
			reportPerCore(b, since, benchRecords, benchRecords*benchSize)
		})
	}
}
