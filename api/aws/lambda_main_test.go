package aws

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/triggers"
	lambdaevent "github.com/shardmill/shardmill/triggers/event"
)

// lambdaRig is a rig with functions and mappings, and an unmodified client of Lambda.
type lambdaRig struct {
	*rig
	lambda    *awslambda.Client
	functions *runtime.Runtime
	mappings  *triggers.Triggers
}

// addEngines adds functions and mappings to a rig's options.
func (l *lambdaRig) addEngines(t testing.TB, dir string) func(*Options) {
	return func(o *Options) {
		ctx := context.Background()
		functions, err := l.catalog.Table(ctx, "functions")
		l.must(err)
		code, err := l.catalog.Blobs(ctx, "code")
		l.must(err)
		l.functions, err = runtime.Open(ctx, runtime.Options{Functions: functions, Code: code, CacheDir: filepath.Join(dir, "cache"), Pinned: Published(o.Settings)})
		l.must(err)
		t.Cleanup(func() { l.must(l.functions.Close(ctx)) })
		definitions, err := l.catalog.Table(ctx, "mappings")
		l.must(err)
		l.mappings, err = triggers.Open(ctx, triggers.Options{
			Streams: triggers.FromStore(l.store), Functions: l.functions, Definitions: definitions, Logger: slog.New(slog.DiscardHandler),
			Events: func(m triggers.Mapping, streamID string) lambdaevent.Envelope {
				return lambdaevent.Envelope{Region: DefaultRegion, StreamARN: l.handler.streamARN(m.Stream), Numbers: sequence.Of(streamID)}
			},
			RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond,
		})
		l.must(err)
		t.Cleanup(func() { l.must(l.mappings.Close(ctx)) })
		o.Functions, o.Mappings, o.Destinations = l.functions, l.mappings, streamDestinations{l.store}
	}
}

func newLambdaRig(t testing.TB) *lambdaRig {
	t.Helper()
	dir := t.TempDir()
	l := new(lambdaRig)
	l.rig = &rig{t: t, ctx: t.Context()}
	rigInto(l.rig, dir, l.addEngines(t, dir))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	l.lambda = awslambda.New(awslambda.Options{
		Region: DefaultRegion, BaseEndpoint: aws.String(l.url), HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider("Test", "secret", ""), Retryer: again{},
	})
	return l
}

// guest is a WebAssembly function that answers every call in the same way.
type guest struct {
	kinds  uint32 // call kinds that it says it handles; 0: batches and direct invocations
	body   string
	fail   string // the handler's error; "": there is none
	prints string // a line for its log
	traps  bool
	raw    []byte // instructions in front of the rest
}

// The guest's memory: the answer, what it prints behind an iovec, and the area for calls.
const (
	guestReply = 1 << 10
	guestPrint = 512 << 10
	guestInput = 1 << 20
	guestPages = 160
)

// module assembles the guest.
func (g guest) module() []byte {
	if g.kinds == 0 {
		g.kinds = abi.KindBatch.Mask() | abi.KindInvoke.Mask()
	}
	var w abi.ReplyWriter
	w.Reset()
	w.SetBody([]byte(g.body))
	reply, err := w.Finish()
	if g.fail != "" {
		reply, err = w.Fail(abi.FailureError, "*errors.errorString", g.fail, ""), nil
	}
	if err != nil {
		panic(err)
	}
	const i32, i64 = 0x7f, 0x7e
	text := g.prints + "\n"
	iovec := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, guestPrint+16), uint32(len(text)))
	handle := slices.Clone(g.raw)
	if g.prints != "" {
		handle = cat([]byte{0x41, 1, 0x41}, leb(guestPrint), []byte{0x41, 1, 0x41}, leb(guestPrint+8), []byte{0x10, 0, 0x1a}) // fd_write(1, iovec, 1, written), drop
	}
	if g.traps {
		handle = append(handle, 0x00)
	}
	handle = cat(handle, []byte{0x42}, leb(int64(abi.Pack(guestReply, uint32(len(reply))))))
	function := func(body ...byte) []byte { return sized(cat([]byte{0}, body, []byte{0x0b})) }
	export := func(name string, kind, index byte) []byte { return cat(sized([]byte(name)), []byte{kind, index}) }
	data := func(at int64, b []byte) []byte { return cat([]byte{0, 0x41}, leb(at), []byte{0x0b}, sized(b)) }
	return cat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 4, []byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 3, i32, i32, i32, 1, i64}, []byte{0x60, 4, i32, i32, i32, i32, 1, i32}),
		section(2, 1, cat(sized([]byte("wasi_snapshot_preview1")), sized([]byte("fd_write")), []byte{0, 3})),
		section(3, 4, []byte{0, 0, 1, 2}),
		section(5, 1, cat([]byte{0}, uleb(guestPages))),
		section(7, 5, export(abi.ExportMemory, 2, 0), export(abi.ExportVersion, 0, 1), export(abi.ExportKinds, 0, 2), export(abi.ExportInput, 0, 3), export(abi.ExportHandle, 0, 4)),
		section(10, 4, function(0x41, 1), function(cat([]byte{0x41}, leb(int64(g.kinds)))...), function(cat([]byte{0x41}, leb(guestInput))...), function(handle...)),
		section(11, 3, data(guestReply, reply), data(guestPrint, iovec), data(guestPrint+16, []byte(text))),
	)
}

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// leb is a signed number in LEB128.
func leb(n int64) (b []byte) {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func sized(b []byte) []byte { return cat(uleb(uint64(len(b))), b) }

func section(id byte, count int, parts ...[]byte) []byte {
	return cat([]byte{id}, sized(cat(uleb(uint64(count)), cat(parts...))))
}
