package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api/messages"
	"github.com/shardmill/shardmill/internal/broker"
)

// doorSettings are the flags of the doors; ruleSetting is the one that is given once for each rule.
var doorSettings = []string{"nats-listen", "mqtt-listen", ruleSetting}

const ruleSetting = "mqtt-rule"

// doorConfig is which doors a host has beside its API.
type doorConfig struct {
	nats  string // HOST:PORT for NATS clients; "" is no door
	mqtt  string // HOST:PORT for MQTT clients; "" is no door
	rules mqttRules
}

func (c *doorConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.nats, "nats-listen", "", "address where NATS clients put records; none unless given")
	flags.StringVar(&c.mqtt, "mqtt-listen", "", "address where MQTT clients put records; none unless given")
	flags.Var(&c.rules, ruleSetting, "where MQTT messages go: 'FILTER=STREAM', with ';key=level:N' or ';key=json:/POINTER' for a partition key that is not the topic; repeat it for more")
}

// check refuses what cannot be; from tells where each setting was given.
func (c *doorConfig) check(ctx context.Context, from sources, insecure bool) error {
	for _, door := range [...]struct{ setting, addr string }{{"nats-listen", c.nats}, {"mqtt-listen", c.mqtt}} {
		if door.addr == "" {
			continue
		}
		if err := checkBind(ctx, from.of(door.setting), door.addr, insecure); err != nil {
			return err
		}
	}
	if (c.mqtt == "") != (len(c.rules.list) == 0) {
		return usagef("%s and %s need each other: without a rule no MQTT message has a stream", from.of("mqtt-listen"), from.of(ruleSetting))
	}
	return nil
}

// mqttRules is a flag that is given once for each rule. One value may hold several rules, a line each.
type mqttRules struct {
	list []messages.Rule
	text []string
}

// Set adds rules.
func (r *mqttRules) Set(text string) error {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rule, err := messages.ParseRule(line)
		if err != nil {
			return err
		}
		r.list, r.text = append(r.list, rule), append(r.text, line)
	}
	return nil
}

// String is the rules, a line each.
func (r *mqttRules) String() string { return strings.Join(r.text, "\n") }

// Type is the flag's type in the help.
func (r *mqttRules) Type() string { return "rule" }

// bindDoors takes the MQTT door's port. Of the NATS door's, which its server takes itself, it only says whether it is free.
func (h *host) bindDoors() error {
	config := &h.config.doors
	if config.nats != "" {
		l, err := listen("nats-listen", config.nats)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("--nats-listen: %w", err)
		}
	}
	if config.mqtt == "" {
		return nil
	}
	l, err := listen("mqtt-listen", config.mqtt)
	if err != nil {
		return err
	}
	h.mqttListener = l
	h.onStop(func(context.Context) error { return closeListener(l) })
	return nil
}

// openDoors opens the doors that are asked for. They are the last to be opened and the first to stop.
func (h *host) openDoors(ctx context.Context, metrics prometheus.Registerer) error {
	config := &h.config.doors
	if config.nats == "" && config.mqtt == "" {
		return nil
	}
	log := h.config.logger.With("part", "doors")
	o := messages.Options{
		Streams: messages.FromStore(h.streams), Rules: config.rules.list, Logger: log, Registerer: metrics,
	}
	if config.nats != "" {
		door, err := broker.OpenDoor(ctx, broker.DoorOptions{
			Listen: config.nats, Subjects: []string{messages.Subjects}, MaxPayload: messages.MaxMessageBytes, Logger: log,
		})
		if err != nil {
			return fmt.Errorf("--nats-listen: %w", err)
		}
		h.onStop(func(context.Context) error { return door.Close() })
		o.NATS = door.Conn()
		log.Info("NATS clients can connect", "addr", door.Addr())
	}
	if config.mqtt != "" {
		o.MQTT = h.mqttListener
		log.Info("MQTT clients can connect", "addr", o.MQTT.Addr())
	}
	doors, err := messages.Open(ctx, o)
	if err != nil {
		return err
	}
	h.onStop(doors.Close)
	return nil
}
