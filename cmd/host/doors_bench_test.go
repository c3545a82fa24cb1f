package main

import (
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/api"
)

// BenchmarkDoors puts events of 256 bytes, one a message, acknowledged on disk: over one connection of each kind with
// 512 of them under way, and over HTTP with one and with 64 requests at a time.
func BenchmarkDoors(b *testing.B) {
	const underWay = 512
	log := newLines()
	h := bootDoors(b, log, "in=in;key=topic")
	client, err := api.NewClient("http://"+h.addr(), api.ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	if _, _, err := client.CreateStream(b.Context(), "in", api.StreamConfig{Shards: 4}); err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("x", 256)
	b.Run("nats", func(b *testing.B) {
		conn := dialNATS(b, log)
		inbox := conn.NewInbox()
		room, over := make(chan struct{}, underWay), make(chan struct{})
		left := b.N
		if _, err := conn.Subscribe(inbox, func(m *nats.Msg) {
			if len(m.Header) != 0 {
				b.Errorf("%s", m.Data)
			}
			<-room
			if left--; left == 0 {
				close(over)
			}
		}); err != nil {
			b.Fatal(err)
		}
		m := doorEvent("k", text)
		m.Reply = inbox
		for range b.N {
			room <- struct{}{}
			if err := conn.PublishMsg(m); err != nil {
				b.Fatal(err)
			}
		}
		<-over
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
	b.Run("mqtt", func(b *testing.B) {
		c := dialMQTT(b, log, "bench")
		tokens := make(chan mqtt.Token, underWay)
		var waiting errgroup.Group
		waiting.Go(func() error {
			for token := range tokens {
				if token.Wait(); token.Error() != nil {
					return token.Error()
				}
			}
			return nil
		})
		for range b.N {
			tokens <- c.Publish("in", 1, false, text)
		}
		close(tokens)
		if err := waiting.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
	records := []api.PutRecord{{PartitionKey: "k", Text: &text}}
	b.Run("http", func(b *testing.B) {
		for range b.N {
			if _, err := client.Put(b.Context(), "in", records); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
	b.Run("http64", func(b *testing.B) {
		var group errgroup.Group
		group.SetLimit(64)
		for range b.N {
			group.Go(func() error {
				_, err := client.Put(b.Context(), "in", records)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
}
