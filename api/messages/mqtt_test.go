package messages

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/shards"
)

// paho311 is a client of MQTT 3.1.1.
func paho311(t testing.TB, d *doorsTest, change func(*mqtt.ClientOptions)) mqtt.Client {
	t.Helper()
	o := mqtt.NewClientOptions().AddBroker("tcp://" + d.mqtt).SetClientID(t.Name()).SetAutoReconnect(false).SetProtocolVersion(4)
	o.SetOrderMatters(true).SetConnectRetry(false)
	if change != nil {
		change(o)
	}
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(answerTime) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// paho5 is a client of MQTT 5.0.
func paho5(t testing.TB, d *doorsTest, connect *paho.Connect) (*paho.Client, *paho.Connack, chan *paho.Disconnect) {
	t.Helper()
	conn, err := net.Dial("tcp", d.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	disconnected := make(chan *paho.Disconnect, 1)
	c := paho.NewClient(paho.ClientConfig{Conn: conn, OnServerDisconnect: func(p *paho.Disconnect) { disconnected <- p }})
	ack, err := c.Connect(t.Context(), connect)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}); <-c.Done() })
	return c, ack, disconnected
}

func TestMQTT311(t *testing.T) {
	streams := newMemory("readings", "rest")
	d := openDoors(t, streams, "sensors/+/temp=readings;key=level:2", "json/#=rest;key=json:/id")
	c := paho311(t, d, nil)
	for i, m := range []struct {
		topic, payload string
		qos            byte
	}{
		{"sensors/a/temp", "20", 1}, {"sensors/b/temp", "21", 1}, {"sensors/a/temp", "22", 0},
		{"json/x", `{"id":7}`, 1}, {"json", `{"id":"ü"}`, 1}, {"sensors/a/temp", "", 1},
	} {
		if token := c.Publish(m.topic, m.qos, i == 1, m.payload); !token.WaitTimeout(answerTime) || token.Error() != nil {
			t.Fatalf("%s: %v", m.topic, token.Error())
		}
	}
	if got := streams.streams["readings"].stored(); !cmp.Equal(got, []string{"a=20", "b=21", "a=22", "a="}) {
		t.Errorf("%v", got)
	}
	if got := streams.streams["rest"].stored(); !cmp.Equal(got, []string{`7={"id":7}`, `ü={"id":"ü"}`}) {
		t.Errorf("%v", got)
	}
	d.counts(t, map[string]float64{
		"shardmill_door_messages_total{door=mqtt}": 6, "shardmill_door_records_total{door=mqtt}": 6,
		"shardmill_door_failures_total{door=mqtt}": 0, "shardmill_mqtt_clients": 1,
	})
}

// A message is acknowledged when it is on disk and not before, in order.
func TestMQTTAcknowledgesWhatIsOnDisk(t *testing.T) {
	streams := newMemory("slow", "quick")
	slow := streams.streams["slow"]
	slow.gate, slow.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams, "slow=slow", "quick=quick")
	c := paho311(t, d, nil)
	first := c.Publish("slow", 1, false, "1")
	<-slow.entered
	second := c.Publish("quick", 1, false, "2")
	for len(streams.streams["quick"].stored()) == 0 { // it is on disk, but not its turn
		select {
		case <-first.Done():
			t.Fatal("acknowledged before it was put")
		case <-second.Done():
			t.Fatal("acknowledged before the one ahead of it")
		default:
		}
	}
	close(slow.gate)
	for _, token := range []mqtt.Token{first, second} {
		if !token.WaitTimeout(answerTime) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
}

// Many messages under way are few puts.
func TestMQTTPutsTogether(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams, "#=s")
	c := dial(t, d)
	c.send(connectPacket(level311, "c", func(b []byte) []byte { b[9] = 60; return b }))
	c.receive(packetConnack)
	var packets []byte
	var want []string
	for i := range window {
		packets = append(packets, publishPacket(level311, "t", 1, uint16(i+1), fmt.Sprint(i))...)
		want = append(want, fmt.Sprintf("t=%d", i))
		if i == 0 {
			c.send(packets)
			packets = nil
			<-s.entered
		}
	}
	c.send(append(packets, 0xC0, 0))
	c.receive(packetPingresp) // those before it have been received
	close(s.gate)
	for i := range window {
		if body := c.receive(packetPuback); binary.BigEndian.Uint16(body) != uint16(i+1) {
			t.Fatalf("PUBACK %x, want %d", body, i+1)
		}
	}
	if diff := cmp.Diff(want, s.stored()); diff != "" {
		t.Error(diff)
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d puts for %d messages", n, window)
	}
}

func TestMQTT311RefusesToSubscribe(t *testing.T) {
	d := openDoors(t, newMemory("s"), "#=s")
	c := paho311(t, d, nil)
	token := c.Subscribe("a/#", 1, nil)
	if !token.WaitTimeout(answerTime) {
		t.Fatal("no answer")
	}
	if got := token.(*mqtt.SubscribeToken).Result()["a/#"]; got != 0x80 {
		t.Errorf("granted %#x", got)
	}
	if token := c.Unsubscribe("a/#", "b"); !token.WaitTimeout(answerTime) || token.Error() != nil {
		t.Error(token.Error())
	}
	if token := c.Publish("t", 1, false, "x"); !token.WaitTimeout(answerTime) || token.Error() != nil {
		t.Errorf("publish after a refused subscription: %v", token.Error())
	}
}

// In 3.1.1 nobody can be told that a message was not put: the client is disconnected, not acknowledged.
func TestMQTT311IsNotToldALie(t *testing.T) {
	streams := newMemory("s", "full")
	streams.streams["full"].fail(shards.ErrNoSpace)
	d := openDoors(t, streams, "s/+=s;key=level:2", "j=s;key=json:/id", "full=full", "gone=gone")
	for _, m := range []struct {
		topic string
		qos   byte
	}{{"s/bad", 1}, {"s/", 1}, {"j", 1}, {"full", 1}, {"gone", 1}, {"unmatched", 1}, {"s/a", 2}} {
		t.Run(m.topic, func(t *testing.T) {
			lost := make(chan error, 1)
			c := paho311(t, d, func(o *mqtt.ClientOptions) {
				o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
			})
			good := c.Publish("s/good", 1, false, "x")
			token := c.Publish(m.topic, m.qos, false, "{}")
			<-lost
			if !good.WaitTimeout(answerTime) || good.Error() != nil {
				t.Errorf("the good message ahead of it: %v", good.Error())
			}
			if token.WaitTimeout(0) && token.Error() == nil {
				t.Error("acknowledged")
			}
		})
	}
	if got := d.log.String(); !strings.Contains(got, "TestMQTT311IsNotToldALie") {
		t.Errorf("log:\n%s", got)
	}
}

func TestMQTT5(t *testing.T) {
	streams := newMemory("s", "full")
	streams.streams["full"].fail(shards.ErrNoSpace)
	d := openDoors(t, streams, "s/+=s;key=level:2", "j=s;key=json:/id", "full=full", "gone=gone")
	expiry := uint32(3600)
	c, ack, _ := paho5(t, d, &paho.Connect{KeepAlive: 30, CleanStart: false, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}})
	p := ack.Properties
	if p == nil || p.MaximumQoS == nil || *p.MaximumQoS != 1 || p.SessionExpiryInterval == nil || *p.SessionExpiryInterval != 0 ||
		p.ReceiveMaximum == nil || *p.ReceiveMaximum != window || p.MaximumPacketSize == nil || *p.MaximumPacketSize != MaxMessageBytes ||
		!strings.HasPrefix(p.AssignedClientID, "shardmill-") || p.WildcardSubAvailable || p.SharedSubAvailable || p.SubIDAvailable || ack.SessionPresent {
		t.Errorf("CONNACK %+v %+v", ack, p)
	}
	for _, m := range []struct {
		topic string
		want  reason
	}{
		{"s/a", reasonOK}, {"s/bad", reasonImplementation}, {"s/", reasonPayload}, {"j", reasonPayload}, {"full", reasonQuota},
		{"gone", reasonImplementation}, {"unmatched", reasonTopicName}, {"s/b", reasonOK},
	} {
		answer, err := c.Publish(t.Context(), &paho.Publish{Topic: m.topic, QoS: 1, Payload: []byte("{}"), Properties: &paho.PublishProperties{
			ContentType: "application/json", CorrelationData: []byte("c"), User: paho.UserProperties{{Key: "a", Value: "b"}, {Key: "a", Value: "c"}},
		}})
		if answer == nil || answer.ReasonCode != byte(m.want) || (err == nil) != (m.want == reasonOK) {
			t.Errorf("%s: %+v, %v; want %#x", m.topic, answer, err, m.want)
		}
	}
	sub, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a"}, {Topic: "b/c"}}})
	if err == nil || sub == nil || !cmp.Equal(sub.Reasons, []byte{byte(reasonNotAuthorized), byte(reasonNotAuthorized)}) {
		t.Errorf("subscribe: %+v, %v", sub, err)
	}
	if got := streams.streams["s"].stored(); !cmp.Equal(got, []string{"a={}", "b={}"}) {
		t.Errorf("%v", got)
	}
	d.counts(t, map[string]float64{
		"shardmill_door_messages_total{door=mqtt}": 8, "shardmill_door_records_total{door=mqtt}": 2,
		"shardmill_door_failures_total{door=mqtt}": 6,
	})
}

func TestMQTTWill(t *testing.T) {
	streams := newMemory("s")
	d := openDoors(t, streams, "#=s")
	will := &paho.WillMessage{Topic: "gone", QoS: 1, Payload: []byte("5")}
	paho5client, _, _ := paho5(t, d, &paho.Connect{ClientID: "quiet", CleanStart: true, WillMessage: will})
	if err := paho5client.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	loud, _, _ := paho5(t, d, &paho.Connect{ClientID: "loud", CleanStart: true, WillMessage: will})
	if err := loud.Disconnect(&paho.Disconnect{ReasonCode: byte(reasonWithWill)}); err != nil {
		t.Fatal(err)
	}
	raw := dial(t, d)
	raw.send(connectPacket(level311, "cut", func(b []byte) []byte {
		b[7] |= 0x04
		return appendText(appendText(b, "gone"), "1")
	}))
	raw.receive(packetConnack)
	raw.Close()
	paho311(t, d, func(o *mqtt.ClientOptions) { o.SetWill("gone", "3", 1, false) })
	d.close(t) // the door's own end is none that the client has said
	got := streams.streams["s"].stored()
	slices.Sort(got)
	if !cmp.Equal(got, []string{"gone=1", "gone=3", "gone=5"}) {
		t.Error(got)
	}
}

// The identifier belongs to who came last.
func TestMQTTTakesOver(t *testing.T) {
	streams := newMemory("s")
	d := openDoors(t, streams, "#=s")
	_, _, disconnected := paho5(t, d, &paho.Connect{ClientID: "same", CleanStart: true})
	c, _, _ := paho5(t, d, &paho.Connect{ClientID: "same", CleanStart: true})
	if p := <-disconnected; p.ReasonCode != byte(reasonTakenOver) {
		t.Errorf("reason %#x", p.ReasonCode)
	}
	if _, err := c.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1}); err != nil {
		t.Error(err)
	}
}

// Closing acknowledges what was received, and says that it closes.
func TestMQTTDrains(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams, "#=s")
	c, _, disconnected := paho5(t, d, &paho.Connect{ClientID: "c", CleanStart: true})
	published := make(chan error, 1)
	go func() {
		_, err := c.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1})
		published <- err
	}()
	<-s.entered
	closing := make(chan struct{})
	go func() { defer close(closing); d.close(t) }()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", d.mqtt)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(s.gate)
	<-closing
	if err := <-published; err != nil {
		t.Error(err)
	}
	if p := <-disconnected; p.ReasonCode != byte(reasonStopping) {
		t.Errorf("reason %#x", p.ReasonCode)
	}
}

// A client that goes on writing and does not read yet gets every acknowledgement that it is owed, and the reason.
func TestMQTTDrainsBusyClients(t *testing.T) {
	streams := newMemory("s")
	s := streams.streams["s"]
	s.gate, s.entered = make(chan struct{}), make(chan context.Context, 1<<10)
	d := openDoors(t, streams, "#=s")
	c := dial(t, d)
	c.send(connectPacket(level5, "c", func(b []byte) []byte { b[9] = 60; return b }))
	c.receive(packetConnack)
	id := uint16(0)
	publish := func(n int, payload string) {
		var packets []byte
		for range n {
			id++
			packets = append(packets, publishPacket(level5, "t", 1, id, payload)...)
		}
		c.send(packets)
	}
	publish(window/2, "x")
	<-s.entered
	c.send([]byte{0xC0, 0})
	c.receive(packetPingresp) // they have been received
	closing := make(chan struct{})
	go func() { defer close(closing); d.close(t) }()
	publish(4000, strings.Repeat("x", 4096)) // more than the system keeps for the connection
	close(s.gate)
	acked := uint16(0)
	for {
		first, err := c.r.Peek(1)
		if err != nil {
			t.Fatal(err)
		}
		if packetType(first[0]>>4) == packetDisconnect {
			break
		}
		acked++
		if body := c.receive(packetPuback); len(body) != 2 || binary.BigEndian.Uint16(body) != acked {
			t.Fatalf("PUBACK %x, want %d", body, acked)
		}
	}
	if body := c.receive(packetDisconnect); body[0] != byte(reasonStopping) {
		t.Errorf("reason %#x", body[0])
	}
	c.end()
	c.Close()
	<-closing
	if n := len(s.stored()); n != int(acked) || n < window/2 {
		t.Errorf("%d records are stored, %d messages acknowledged", n, acked)
	}
}

// A client that says nothing is let go after its keep-alive.
func TestMQTTKeepAlive(t *testing.T) {
	d := openDoors(t, newMemory("s"), "#=s")
	c := dial(t, d)
	c.send(connectPacket(level5, "c", nil))
	c.receive(packetConnack)
	if body := c.receive(packetDisconnect); body[0] != byte(reasonKeepAlive) {
		t.Errorf("reason %#x", body[0])
	}
	c.end()
}
