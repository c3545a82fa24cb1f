package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

func newStream(a *app) *cobra.Command {
	return group("stream", "Streams: create, update, list, describe, delete; put and tail records; damage",
		newStreamCreate(a), a.completing(newStreamUpdate(a), streamNames), newStreamList(a), a.completing(newStreamDescribe(a), streamNames),
		a.completing(newStreamDelete(a), streamNames), a.completing(newStreamPut(a), streamNames), a.completing(newStreamTail(a), streamNames),
		newStreamDamage(a))
}

func newStreamCreate(a *app) *cobra.Command {
	var config api.StreamConfig
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a stream; the same again changes nothing",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, _, err := client.CreateStream(cmd.Context(), args[0], config)
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
	countFlag(c.Flags(), &config.Shards, "shards", "1 to 1000", "how many shards (default 1)")
	textFlag(c.Flags(), &config.Retention, "retention", "duration", "1h to 365d", "how long records are kept (default 24h)")
	textFlag(c.Flags(), &config.MaxRecord, "max-record", "size", "1KiB to 10MiB", "the largest data of one record (default 1MiB)")
	return c
}

func newStreamUpdate(a *app) *cobra.Command {
	var retention api.Duration
	var largest api.Size
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a stream's settings; those that are not given stay",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			var change api.StreamChange
			if cmd.Flags().Changed("retention") {
				change.Retention = &retention
			}
			if cmd.Flags().Changed("max-record") {
				change.MaxRecord = &largest
			}
			if change == (api.StreamChange{}) {
				return usagef("stream update needs at least one setting: --retention or --max-record")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, err := client.UpdateStream(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
	textFlag(c.Flags(), &retention, "retention", "duration", "1h to 365d", "how long records are kept; a shorter one takes effect at once")
	textFlag(c.Flags(), &largest, "max-record", "size", "1KiB to 10MiB", "the largest data of one record; what is stored stays")
	return c
}

func newStreamList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the streams",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			streams, err := client.Streams(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, streams, []string{"NAME", "STATUS", "SHARDS>", "RETENTION>", "CREATED"}, func(s api.Stream) []string {
				return []string{s.Name, s.Status, strconv.Itoa(s.ShardCount), s.Retention.String(), shortTime(s.Created)}
			})
		},
	}
}

func newStreamDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a stream and its shards",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			stream, err := client.Stream(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printStream(stream)
		},
	}
}

func (a *app) printStream(s api.Stream) error {
	err := a.printFields(s,
		[2]string{"Name", s.Name},
		[2]string{"Status", because(s.Status, s.Reason)},
		[2]string{"Created", shortTime(s.Created)},
		[2]string{"Retention", s.Retention.String()},
		[2]string{"Largest record", s.MaxRecord.String()},
		[2]string{"Shards", strconv.Itoa(s.ShardCount)},
	)
	if err != nil || a.output == outputJSON || len(s.Shards) == 0 {
		return err
	}
	t := newTable("SHARD", "STATE", "OLDEST>", "NEXT>", "LAST ARRIVAL", "PARENTS")
	for _, shard := range s.Shards {
		state := "open"
		if shard.Closed {
			state = "closed"
		}
		t.add(shard.ID, state, shard.Oldest.String(), shard.Next.String(), shortTime(shard.LastArrival), joinOr(shard.Parents, "-"))
	}
	fmt.Fprintln(a.out)
	return t.write(a.out)
}

func newStreamDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a stream and all its records",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteStream(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("stream", args[0])
		},
	}
}

func newStreamDamage(a *app) *cobra.Command {
	list := &cobra.Command{
		Use:   "list NAME",
		Short: "List the damaged records of a stream",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			damage, err := client.Damage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printDamage(damage)
		},
	}
	accept := &cobra.Command{
		Use:   "accept NAME SHARD",
		Short: "Give up the damaged records of a shard, so that it is read on behind them; shows what is lost",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			lost, err := client.AcceptDamage(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.printDamage(lost)
		},
	}
	return group("damage", "Records that were stored and cannot be read: list them, give them up",
		a.completing(list, streamNames), a.completing(accept, streamNames))
}

func (a *app) printDamage(damage []api.Damage) error {
	if len(damage) == 0 && a.output == outputTable {
		_, err := fmt.Fprintln(a.out, "no damage")
		return err
	}
	return printItems(a, damage, []string{"SHARD", "FIRST>", "LAST>", "FILE", "OFFSET>", "REASON"}, func(d api.Damage) []string {
		return []string{d.Shard, d.First.String(), d.Last.String(), d.File, strconv.FormatInt(d.Offset, 10), d.Reason}
	})
}

// because is a state with its reason, when it has one.
func because(state, reason string) string {
	if reason == "" {
		return state
	}
	return state + " (" + printable(reason) + ")"
}

// printDeleted confirms that something is gone.
func (a *app) printDeleted(kind, name string) error {
	if a.output == outputJSON {
		return a.printJSON(map[string]string{"deleted": kind, "name": name})
	}
	_, err := fmt.Fprintf(a.out, "%s %s deleted\n", kind, name)
	return err
}

// clock is the time of day of a line that is followed.
func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }
