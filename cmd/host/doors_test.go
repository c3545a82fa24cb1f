package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/api/messages"
)

const doorTime = 10 * time.Second

func bootDoors(t testing.TB, log *lines, rules ...string) *host {
	t.Helper()
	config := hostConfig{dataDir: t.TempDir(), doors: doorConfig{nats: freePort, mqtt: freePort}}
	for _, rule := range rules {
		if err := config.doors.rules.Set(rule); err != nil {
			t.Fatal(err)
		}
	}
	config.listen, config.adminListen = freePort, freePort
	logger, err := newLogger(log, "info", "text", nil)
	if err != nil {
		t.Fatal(err)
	}
	config.logger = logger
	h, err := startHost(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.close() })
	return h
}

var (
	natsLine = regexp.MustCompile(`NATS clients can connect.* addr=(\S+)`)
	mqttLine = regexp.MustCompile(`MQTT clients can connect.* addr=(\S+)`)
)

func dialNATS(t testing.TB, log *lines) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect("nats://"+natsLine.FindStringSubmatch(log.String())[1], nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func dialMQTT(t testing.TB, log *lines, id string) mqtt.Client {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + mqttLine.FindStringSubmatch(log.String())[1]).SetClientID(id)
	c := mqtt.NewClient(o.SetAutoReconnect(false).SetConnectRetry(false).SetProtocolVersion(4).SetWriteTimeout(time.Second))
	if token := c.Connect(); !token.WaitTimeout(doorTime) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// doorEvent is a message with one record to stream in.
func doorEvent(key, data string) *nats.Msg {
	return &nats.Msg{Subject: "put.in", Header: nats.Header{messages.HeaderKey: {key}}, Data: []byte(data)}
}

// What comes in at a door is in the stream, as large as a record may be, and a door is closed before what it stands on.
func TestDoors(t *testing.T) {
	log := newLines()
	h := bootDoors(t, log, "sensors/+/temp=in;key=level:2")
	client := clientAt(t, "http://"+h.addr())
	if _, _, err := client.CreateStream(t.Context(), "in", api.StreamConfig{Shards: 2, MaxRecord: 10 << 20}); err != nil {
		t.Fatal(err)
	}
	conn := dialNATS(t, log)
	large := strings.Repeat("x", 10<<20)
	for _, data := range []string{"small", large} {
		answer, err := conn.RequestMsg(doorEvent("k", data), doorTime)
		if err != nil || len(answer.Header) != 0 {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	device := dialMQTT(t, log, "device")
	for _, data := range []string{"20", large} {
		if token := device.Publish("sensors/a/temp", 1, false, data); !token.WaitTimeout(doorTime) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	got := map[string]int{}
	for r, err := range client.Records(t.Context(), "in", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[r.PartitionKey] += len(r.Bytes())
	}
	if got["k"] != len("small")+len(large) || got["a"] != len("20")+len(large) {
		t.Errorf("bytes by key: %v", got)
	}
	if _, err := conn.RequestMsg(nats.NewMsg("$JS.API.INFO"), time.Millisecond); err == nil {
		t.Error("JetStream answers")
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "different") {
		t.Errorf("log:\n%s", text)
	}
}

func TestDoorSettings(t *testing.T) {
	const rule = "a/+=s;key=level:2"
	config := filepath.Join(t.TempDir(), "config.yaml")
	writeFile(t, config, "mqtt-listen: "+freePort+"\nmqtt-rule:\n  - a/+=s;key=level:2\n  - b=+\n")
	taken := testHost(t).addr()
	tests := []struct {
		name   string
		args   []string
		env    map[string]string
		status int
		says   string
	}{
		{"NATS on all interfaces", []string{"--nats-listen", "0.0.0.0:0"}, nil, exitUsage, "--nats-listen 0.0.0.0:0 would accept anybody"},
		{"MQTT on all interfaces", []string{"--mqtt-listen", ":0", "--mqtt-rule", rule}, nil, exitUsage, "--mqtt-listen :0 would accept anybody"},
		{"by variable", nil, map[string]string{"SHARDMILL_NATS_LISTEN": "[::]:0"}, exitUsage, "SHARDMILL_NATS_LISTEN [::]:0 would accept anybody"},
		{"no port", []string{"--nats-listen", "localhost"}, nil, exitUsage, "HOST:PORT"},
		{"MQTT without rule", []string{"--mqtt-listen", freePort}, nil, exitUsage, "need each other"},
		{"rule without MQTT", []string{"--mqtt-rule", rule}, nil, exitUsage, "need each other"},
		{"bad rule", []string{"--mqtt-rule", "a/+=s;key=level:3"}, nil, exitUsage, "a level from 1 to 2"},
		{"bad rule by variable", nil, map[string]string{"SHARDMILL_MQTT_RULE": rule + "\nb/#/c=s"}, exitUsage, "# is the whole last level"},
		{"bad rule in a file", []string{"--config", config}, nil, exitUsage, "stream's name"},
		{"NATS port taken", []string{"--nats-listen", taken}, nil, exitFailure, "--nats-listen: "},
		{"MQTT port taken", []string{"--mqtt-listen", taken, "--mqtt-rule", rule}, nil, exitFailure, "address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"serve", "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", freePort, "--admin-listen", freePort}, tt.args...)
			r := cli{env: tt.env}.run(t.Context(), args...)
			if r.status != tt.status || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("status %d, want %d with %q; said %s", r.status, tt.status, tt.says, r.stderr)
			}
		})
	}
}

// doorAcks is what the doors have acknowledged over all lives of the host.
type doorAcks struct {
	mu   sync.Mutex
	nats map[string]string // text → "shard/sequence number"
	mqtt map[string]bool
	more chan struct{} // has a token when there are more
}

// tell lets await look again.
func (a *doorAcks) tell() {
	select {
	case a.more <- struct{}{}:
	default:
	}
}

// await returns when n more messages have been acknowledged than now, and one over each door at least.
func (a *doorAcks) await(t *testing.T, n int, ended <-chan struct{}) {
	t.Helper()
	count := func() (overNATS, overMQTT int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.nats), len(a.mqtt)
	}
	natsBefore, mqttBefore := count()
	for {
		if overNATS, overMQTT := count(); overNATS > natsBefore && overMQTT > mqttBefore && overNATS+overMQTT >= natsBefore+mqttBefore+n {
			return
		}
		select {
		case <-a.more:
		case <-ended:
			t.Fatal("the host has ended by itself")
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// A real process is killed at random moments, and stopped the last time, while NATS and MQTT clients publish: every acknowledged message is in the
// stream once, where its answer said, and in order.
func TestKilledDoors(t *testing.T) {
	t.Setenv("SHARDMILL_NATS_LISTEN", freePort)
	t.Setenv("SHARDMILL_MQTT_LISTEN", freePort)
	t.Setenv("SHARDMILL_MQTT_RULE", "other=none\nm/+/+=in;key=level:3")
	dir := t.TempDir()
	all := &doorAcks{nats: map[string]string{}, mqtt: map[string]bool{}, more: make(chan struct{}, 1)}
	rounds := crashRounds(t)
	for round := range rounds {
		p := startProcess(t, dir)
		if round == 0 {
			if _, _, err := clientAt(t, p.api).CreateStream(t.Context(), "in", api.StreamConfig{Shards: 4}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for putter := range 2 {
			conn, device := dialNATS(t, p.log), dialMQTT(t, p.log, fmt.Sprint(putter))
			work.Go(func() { all.putNATS(ctx, conn, fmt.Sprintf("n%d.%d", round, putter)) })
			work.Go(func() { all.putMQTT(ctx, device, fmt.Sprintf("m%d.%d", round, putter)) })
		}
		all.await(t, 1+rand.IntN(3000), p.ended) // the random moment
		if round < rounds-1 {
			p.Process.Kill()
			<-p.ended
		} else {
			p.Process.Signal(syscall.SIGTERM)
			if status := p.end(); status != exitOK {
				t.Errorf("stopped under load: status %d, log:\n%s", status, p.log)
			}
		}
		cancel()
		work.Wait()
	}
	p := startProcess(t, dir)
	all.mu.Lock() // for callbacks of connections that are being closed
	defer all.mu.Unlock()
	t.Logf("%d ends, %d messages acknowledged over NATS, %d over MQTT", rounds, len(all.nats), len(all.mqtt))
	all.verify(t, clientAt(t, p.api))
}

// putNATS publishes with many requests under way until the host is gone, and notes the answers.
func (a *doorAcks) putNATS(ctx context.Context, conn *nats.Conn, putter string) {
	defer conn.Close()
	var asked sync.Map // reply subject → text
	inbox := conn.NewInbox()
	room := make(chan struct{}, 256)
	_, err := conn.Subscribe(inbox+".*", func(m *nats.Msg) {
		<-room
		var answer struct{ Shard, SequenceNumber string }
		if text, ok := asked.LoadAndDelete(m.Subject); ok && json.Unmarshal(m.Data, &answer) == nil && answer.Shard != "" {
			a.mu.Lock()
			a.nats[text.(string)] = answer.Shard + "/" + answer.SequenceNumber
			a.mu.Unlock()
			a.tell()
		}
	})
	if err != nil {
		return
	}
	for i := 0; ; i++ {
		m := doorEvent(strconv.Itoa(i%16), fmt.Sprintf("%s.%07d", putter, i))
		m.Reply = fmt.Sprintf("%s.%d", inbox, i)
		asked.Store(m.Reply, string(m.Data))
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if conn.PublishMsg(m) != nil {
			return
		}
	}
}

// putMQTT publishes with QoS 1 until the host is gone, and notes what was acknowledged.
func (a *doorAcks) putMQTT(ctx context.Context, c mqtt.Client, putter string) {
	defer c.Disconnect(0)
	var tokens []mqtt.Token
	acknowledged := func() bool {
		for _, token := range tokens {
			select {
			case <-token.Done():
			case <-ctx.Done():
				return false
			}
			if token.Error() != nil {
				return false
			}
		}
		return true
	}
	for i := 0; ; i++ {
		text := fmt.Sprintf("%s.%07d", putter, i)
		tokens = append(tokens, c.Publish(fmt.Sprintf("m/x/%d", i%16), 1, false, text))
		if len(tokens) < 64 {
			continue
		}
		if !acknowledged() {
			return
		}
		a.mu.Lock()
		for j := range tokens {
			a.mqtt[fmt.Sprintf("%s.%07d", putter, i-len(tokens)+1+j)] = true
		}
		a.mu.Unlock()
		a.tell()
		tokens = tokens[:0]
	}
}

func (a *doorAcks) verify(t *testing.T, client *api.Client) {
	t.Helper()
	seen, last := map[string]bool{}, map[string]string{}
	for r, err := range client.Records(t.Context(), "in", api.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(r.Bytes())
		if seen[text] {
			t.Fatalf("%s is there twice", text)
		}
		seen[text] = true
		place := fmt.Sprintf("%s/%d", r.Shard, r.Sequence)
		if want, ok := a.nats[text]; ok && want != place {
			t.Fatalf("%s is at %s, acknowledged as %s", text, place, want)
		}
		line := text[:strings.LastIndex(text, ".")] + "/" + r.PartitionKey
		if last[line] >= text {
			t.Fatalf("%s after %s", text, last[line])
		}
		last[line] = text
	}
	for text := range a.nats {
		if !seen[text] {
			t.Fatalf("%s was acknowledged over NATS and is gone", text)
		}
	}
	for text := range a.mqtt {
		if !seen[text] {
			t.Fatalf("%s was acknowledged over MQTT and is gone", text)
		}
	}
}
