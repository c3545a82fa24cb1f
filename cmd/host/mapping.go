package main

import (
	"cmp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api"
)

func newMapping(a *app) *cobra.Command {
	return group("mapping", "Event source mappings: what drives a function from a stream",
		newMappingCreate(a), a.completing(newMappingUpdate(a), mappingNames), newMappingList(a),
		a.completing(newMappingDescribe(a), mappingNames), a.completing(newMappingDelete(a), mappingNames))
}

// mappingFlags are the settings that can be given at creation and changed later.
func mappingFlags(flags *pflag.FlagSet, config *api.MappingConfig) {
	flags.StringVar(&config.Function, "function", "", "the function to call")
	countFlag(flags, &config.BatchSize, "batch-size", "1 to 10000 records", "the most records of one call (default 100)")
	textFlag(flags, &config.BatchWindow, "batch-window", "duration", "", "how long to wait for a batch to fill, 0s to 5m")
	flags.IntVar(&config.MaxAttempts, "max-attempts", 0, "how often a batch is tried, 1 to 10000; 0 is without limit")
	textFlag(flags, &config.MaxRecordAge, "max-record-age", "duration", "", "the age at which records are given up, 60s to 7d; 0s is without limit")
	config.Deaggregate = flags.Bool("deaggregate", true, "hand over the user records of KPL-aggregated records; false: the aggregates as they are stored")
}

func newMappingCreate(a *app) *cobra.Command {
	var config api.MappingConfig
	var startingTime string
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Drive a function from a stream; the same again changes nothing",
		Example: "  shardmill mapping create flight-delays --stream flights --function delays",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if config.Stream == "" || config.Function == "" {
				return usagef("a mapping needs --stream and --function")
			}
			if startingTime != "" {
				t, err := parseWhen(startingTime, time.Now())
				if err != nil {
					return err
				}
				config.StartingTime = t
				if config.StartingPosition == "" {
					config.StartingPosition = "timestamp"
				}
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			m, _, err := client.PutMapping(cmd.Context(), args[0], config)
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	flags := c.Flags()
	flags.StringVar(&config.Stream, "stream", "", "the stream to read")
	mappingFlags(flags, &config)
	flags.StringVar(&config.StartingPosition, "starting-position", "", "where to begin: oldest, newest or timestamp (default oldest)")
	flags.StringVar(&startingTime, "starting-time", "", "begin with records that arrived at a time (2026-01-02T15:04:05Z) or so long ago (15m)")
	a.completingFlag(c, "stream", streamNames)
	a.completingFlag(c, "function", functionNames)
	return c
}

func newMappingUpdate(a *app) *cobra.Command {
	var config api.MappingConfig
	c := &cobra.Command{
		Use:   "update NAME",
		Short: "Change settings of a mapping; its checkpoints stay",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			was, err := client.Mapping(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			next, given := was.MappingConfig, false
			change := func(flag string, set func()) {
				if cmd.Flags().Changed(flag) {
					given = true
					set()
				}
			}
			change("function", func() { next.Function = config.Function })
			change("batch-size", func() { next.BatchSize = config.BatchSize })
			change("batch-window", func() { next.BatchWindow = config.BatchWindow })
			change("max-attempts", func() { next.MaxAttempts = config.MaxAttempts })
			change("max-record-age", func() { next.MaxRecordAge = config.MaxRecordAge })
			change("deaggregate", func() { next.Deaggregate = config.Deaggregate })
			if !given {
				return usagef("give at least one setting to change")
			}
			m, _, err := client.PutMapping(cmd.Context(), args[0], next)
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
	mappingFlags(c.Flags(), &config)
	a.completingFlag(c, "function", functionNames)
	return c
}

func newMappingList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the mappings",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			mappings, err := client.Mappings(cmd.Context())
			if err != nil {
				return err
			}
			return printItems(a, mappings, []string{"NAME", "STREAM", "FUNCTION", "BATCH SIZE>", "STATE", "LAST RESULT"}, func(m api.Mapping) []string {
				return []string{m.Name, m.Stream, m.Function, strconv.Itoa(m.BatchSize), m.State, m.LastResult}
			})
		},
	}
}

func newMappingDescribe(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a mapping and how far it is in each shard",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.Mapping(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printMapping(m)
		},
	}
}

func (a *app) printMapping(m api.Mapping) error {
	attempts := "without limit"
	if m.MaxAttempts > 0 {
		attempts = strconv.Itoa(m.MaxAttempts)
	}
	age := "without limit"
	if m.MaxRecordAge > 0 {
		age = m.MaxRecordAge.String()
	}
	aggregates := "taken apart"
	if m.Deaggregate != nil && !*m.Deaggregate {
		aggregates = "as they are stored"
	}
	err := a.printFields(m,
		[2]string{"Name", m.Name},
		[2]string{"State", because(m.State, m.Reason)},
		[2]string{"Stream", m.Stream},
		[2]string{"Function", m.Function},
		[2]string{"Batch size", strconv.Itoa(m.BatchSize)},
		[2]string{"Batch window", m.BatchWindow.String()},
		[2]string{"Starts at", m.StartingPosition},
		[2]string{"Attempts", attempts},
		[2]string{"Record age", age},
		[2]string{"Aggregates", aggregates},
	)
	if err != nil || a.output == outputJSON || len(m.Shards) == 0 {
		return err
	}
	t := newTable("SHARD", "STATE", "CHECKPOINT>", "ITERATOR AGE>", "INVOCATIONS>", "SETTLED>", "GIVEN UP>", "LAST RESULT", "LAST ERROR")
	for _, s := range m.Shards {
		checkpoint := "-"
		if s.Checkpoint != 0 {
			checkpoint = s.Checkpoint.String()
		}
		t.add(s.Shard, s.State, checkpoint, shortDuration(time.Duration(s.IteratorAge)),
			thousands(int64(s.Counts.Invocations)), thousands(int64(s.Counts.Settled)),
			thousands(int64(s.Counts.GivenUp)), cmp.Or(s.LastResult, "-"), printable(s.LastError))
	}
	if _, err := a.out.Write([]byte("\n")); err != nil {
		return err
	}
	return t.write(a.out)
}

func newMappingDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a mapping and its checkpoints",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.DeleteMapping(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.printDeleted("mapping", args[0])
		},
	}
}
