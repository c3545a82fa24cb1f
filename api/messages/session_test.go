package messages

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/shardmill/shardmill/internal/flood"
)

// What a client may not send ends its session with the reason, and nobody else's.
func TestSessionFaults(t *testing.T) {
	subscribe := func(level byte) []byte {
		b := []byte{0, 1}
		if level == level5 {
			b = append(b, 0)
		}
		return appendPacket(nil, packetSubscribe, append(appendText(b, "a"), 0))
	}
	tests := []struct {
		name   string
		packet []byte
		want   reason
	}{
		{"second CONNECT", connectPacket(level5, "again", nil), reasonProtocol},
		{"QoS 2", publishPacket(level5, "t", 2, 1, "x"), reasonQoS},
		{"QoS 3", publishPacket(level5, "t", 3, 1, "x"), reasonMalformed},
		{"identifier 0", publishPacket(level5, "t", 1, 0, "x"), reasonMalformed},
		{"no topic", publishPacket(level5, "", 1, 1, "x"), reasonTopicName},
		{"wildcard", publishPacket(level5, "a/+", 1, 1, "x"), reasonTopicName},
		{"topic is not UTF-8", publishPacket(level5, "\xff", 1, 1, "x"), reasonMalformed},
		{"topic with NUL", publishPacket(level5, "a\x00", 1, 1, "x"), reasonMalformed},
		{"topic cut off", []byte{0x30, 2, 0, 9}, reasonMalformed},
		{"topic alias", []byte{0x30, 7, 0, 1, 't', 3, 0x23, 0, 1}, reasonTopicAlias},
		{"unknown property", []byte{0x30, 6, 0, 1, 't', 2, 0x7e, 0}, reasonMalformed},
		{"property of another packet", []byte{0x30, 8, 0, 1, 't', 4, 0x21, 0, 1, 0}, reasonMalformed},
		{"property twice", []byte{0x30, 8, 0, 1, 't', 4, 0x01, 0, 0x01, 0}, reasonProtocol},
		{"properties longer than the packet", []byte{0x30, 4, 0, 1, 't', 9}, reasonMalformed},
		{"flags of SUBSCRIBE", subscribe(level5), reasonMalformed}, // without the flag 2
		{"flags of PINGREQ", []byte{0xC1, 0}, reasonMalformed},
		{"PINGREQ with a body", []byte{0xC0, 1, 0}, reasonMalformed},
		{"PUBACK", []byte{0x40, 2, 0, 1}, reasonProtocol},
		{"PUBREL", []byte{0x62, 2, 0, 1}, reasonProtocol},
		{"AUTH", []byte{0xF0, 0}, reasonProtocol},
		{"type 0", []byte{0x00, 0}, reasonProtocol},
		{"length of five bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, reasonMalformed},
		{"too large", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, reasonTooLarge},
		{"SUBSCRIBE without filter", []byte{0x82, 3, 0, 1, 0}, reasonProtocol},
		{"UNSUBSCRIBE with identifier 0", []byte{0xA2, 6, 0, 0, 0, 0, 1, 'a'}, reasonMalformed},
		{"DISCONNECT with too much", []byte{0xE0, 3, 0, 0, 0}, reasonMalformed},
	}
	streams := newMemory("s")
	d := openDoors(t, streams, "#=s")
	bystander := dial(t, d)
	bystander.send(connectPacket(level5, "bystander", func(b []byte) []byte { b[9] = 60; return b }))
	bystander.receive(packetConnack)
	for i, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, d)
			c.send(connectPacket(level5, tc.name, nil))
			c.receive(packetConnack)
			c.send(tc.packet)
			if body := c.receive(packetDisconnect); body[0] != byte(tc.want) {
				t.Errorf("reason %#x, want %#x", body[0], tc.want)
			}
			c.end()

			if tc.want == reasonTopicAlias || strings.Contains(tc.name, "propert") || strings.Contains(tc.name, "DISCONNECT") || tc.packet[0] == 0xF0 {
				return // these are other packets in 3.1.1
			}
			old := dial(t, d)
			old.send(connectPacket(level311, "old", nil))
			old.receive(packetConnack)
			packet := bytes.Clone(tc.packet)
			if tc.name == "second CONNECT" {
				packet = connectPacket(level311, "again", nil)
			}
			old.send(packet)
			if i < 23 { // the filters of the others are different ones there
				old.end()
			}
		})
	}
	bystander.send(publishPacket(level5, "t", 1, 7, "x"))
	if body := bystander.receive(packetPuback); !bytes.Equal(body, []byte{0, 7}) {
		t.Errorf("PUBACK %x", body)
	}
	if got := len(streams.streams["s"].stored()); got != 1 {
		t.Errorf("%d records were put", got)
	}
}

// Who is not let in is told why, in the words of his version.
func TestSessionConnect(t *testing.T) {
	level := func(n byte) []byte {
		return appendPacket(nil, packetConnect, append(appendText(nil, "MQTT"), n, 2, 0, 1, 0, 0))
	}
	flags := func(version, f byte) []byte {
		return connectPacket(version, "c", func(b []byte) []byte { b[7] = f; return b })
	}
	tests := []struct {
		name   string
		packet []byte
		answer []byte // the body of CONNACK; nil: none
	}{
		{"3.1.1", connectPacket(level311, "c", nil), []byte{0, 0}},
		{"3.1.1 without identifier", connectPacket(level311, "", nil), []byte{0, 0}},
		{"3.1.1 with credentials", connectPacket(level311, "c", func(b []byte) []byte {
			b[7] |= 0xC0
			return appendText(appendText(b, "user"), "password")
		}), []byte{0, 0}},
		{"3.1.1 without identifier, to stay", connectPacket(level311, "", func(b []byte) []byte { b[7] = 0; return b }), []byte{0, 2}},
		{"3.1", appendPacket(nil, packetConnect, append(appendText(nil, "MQIsdp"), 3, 2, 0, 1, 0, 0)), []byte{0, 1}},
		{"level 6", level(6), []byte{0, 1}},
		{"reserved flag", flags(level311, 3), []byte{0, 3}},
		{"will flags without will", flags(level5, 0x22), []byte{0, byte(reasonMalformed), 0}},
		{"will of QoS 3", flags(level5, 0x1e), []byte{0, byte(reasonMalformed), 0}},
		{"will is missing", flags(level5, 0x06), []byte{0, byte(reasonMalformed), 0}},
		{"will of QoS 2", connectPacket(level5, "c", func(b []byte) []byte {
			b[7] = 0x16
			return appendText(appendText(append(b, 0), "t"), "x")
		}), []byte{0, byte(reasonQoS), 0}},
		{"will to a wildcard", connectPacket(level5, "c", func(b []byte) []byte {
			b[7] = 0x06
			return appendText(appendText(append(b, 0), "#"), "x")
		}), []byte{0, byte(reasonTopicName), 0}},
		{"password alone", flags(level311, 0x42), []byte{0, 3}},
		{"bytes behind", connectPacket(level5, "c", func(b []byte) []byte { return append(b, 0) }), []byte{0, byte(reasonMalformed), 0}},
		{"authentication method", appendPacket(nil, packetConnect, append(appendText(nil, "MQTT"),
			level5, 2, 0, 1, 4, propAuthMethod, 0, 1, 'x', 0, 0)), []byte{0, byte(reasonAuthMethod), 0}},
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), nil},
		{"CONNECT of 70,000 bytes", append([]byte{0x10}, appendVarint(nil, 70_000)...), nil},
		{"PUBLISH first", publishPacket(level311, "t", 0, 0, "x"), nil},
		{"empty CONNECT", []byte{0x10, 0}, []byte{0, 3}},
	}
	d := openDoors(t, newMemory("s"), "#=s")
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, d)
			c.send(tc.packet)
			if tc.answer == nil {
				c.end()
				return
			}
			if body := c.receive(packetConnack); !bytes.Equal(body, tc.answer) {
				t.Fatalf("CONNACK %x, want %x", body, tc.answer)
			}
			if tc.answer[1] != 0 {
				c.end()
				return
			}
			c.send([]byte{0xC0, 0})
			c.receive(packetPingresp)
		})
	}
}

func TestSessionRefusesSubscriptions(t *testing.T) {
	d := openDoors(t, newMemory("s"), "#=s")
	c := dial(t, d)
	c.send(connectPacket(level5, "c", nil))
	c.receive(packetConnack)
	c.send([]byte{0x82, 12, 0, 9, 2, 0x0B, 1, 0, 1, 'a', 0, 0, 0, 0}) // two filters, the second empty
	body := c.receive(packetSuback)
	if !bytes.HasPrefix(body, []byte{0, 9}) || !bytes.HasSuffix(body, []byte{0x87, 0x87}) || !bytes.Contains(body, []byte("sends none")) {
		t.Errorf("SUBACK %x", body)
	}
	c.send([]byte{0xA2, 6, 0, 10, 0, 0, 1, 'a'})
	if body := c.receive(packetUnsuback); !bytes.HasPrefix(body, []byte{0, 10}) || !bytes.HasSuffix(body, []byte{0x11}) {
		t.Errorf("UNSUBACK %x", body)
	}
}

// A client that does not finish a packet, or does not even begin, is let go.
func TestSessionSlowClients(t *testing.T) {
	for name, tc := range map[string]struct {
		sends []byte
		wait  time.Duration
	}{
		"says nothing":      {nil, connectTime},
		"half a CONNECT":    {connectPacket(level311, "c", nil)[:8], packetTime},
		"only a first byte": {[]byte{0x10}, packetTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, served := pipeSession(t, "#=s")
				start := time.Now()
				_, _ = client.Write(tc.sends)
				<-served
				if took := time.Since(start); took != tc.wait {
					t.Errorf("after %v, want %v", took, tc.wait)
				}
			})
		})
	}
}

// pipeSession serves one client over a pipe. served is closed when the session has ended.
func pipeSession(t testing.TB, rules ...string) (client net.Conn, served chan struct{}) {
	t.Helper()
	client, conn := net.Pipe()
	var parsed []Rule
	for _, text := range rules {
		parsed = append(parsed, mustRule(t, text))
	}
	m := newMetrics(nil)
	d := &mqttDoor{
		rules: parsed, intake: newIntake(newMemory("s")), reading: semaphore.NewWeighted(maxReading), metrics: m.door("mqtt"), clients: m.mqttClients,
		log: slog.New(slog.DiscardHandler), complaints: complaints{log: slog.New(slog.DiscardHandler)},
		sessions: map[*session]struct{}{}, byID: map[string]*session{},
	}
	s := newSession(d, conn)
	d.enter(s)
	served = make(chan struct{})
	go func() {
		defer close(served)
		s.serve(t.Context())
		d.leave(s)
		if err := d.intake.close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(d.sessions)+len(d.byID) != 0 {
			t.Error("the session is still noted")
		}
	}()
	t.Cleanup(func() { client.Close(); <-served })
	return client, served
}

// FuzzSession gives a session whatever bytes: it must answer or end, and never panic.
func FuzzSession(f *testing.F) {
	f.Add(append(connectPacket(level311, "c", nil), publishPacket(level311, "a/b", 1, 1, "x")...))
	f.Add(append(connectPacket(level5, "", nil), publishPacket(level5, "j", 1, 1, `{"id":1}`)...))
	f.Add(append(connectPacket(level5, "c", nil), 0x82, 8, 0, 9, 0, 0, 1, 'a', 0, 0xC0, 0, 0xE0, 0))
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x07, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		client, served := pipeSession(t, "j=s;key=json:/id", "#=s;key=level:2")
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			b := make([]byte, 1024)
			for {
				if _, err := client.Read(b); err != nil {
					return
				}
			}
		}()
		_, _ = client.Write(sent)
		_ = client.Close()
		<-drained
		<-served
	})
}

func TestOpenNeedsStreams(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "Streams") {
		t.Errorf("%v", err)
	}
}

// Two hosts in one process do not share metrics, and doors that were closed give theirs back.
func TestMetricsAreGivenBack(t *testing.T) {
	r := prometheus.NewRegistry()
	for range 2 {
		d, err := Open(t.Context(), Options{Streams: newMemory(), Registerer: r})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Failures of one minute are one line.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		c := complaints{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 3 {
			c.add("it failed", "s", errors.New("why"))
		}
		time.Sleep(flood.Every)
		c.add("it failed", "s", errors.New("again"))
		got := out.String()
		if strings.Count(got, "\n") != 2 || !strings.Contains(got, "error=why unlogged=0") || !strings.Contains(got, "error=again unlogged=2") {
			t.Error(got)
		}
	})
}
