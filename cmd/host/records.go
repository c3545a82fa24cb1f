package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/field"
)

func newStreamPut(a *app) *cobra.Command {
	var key, partitionKey, data string
	c := &cobra.Command{
		Use:   "put NAME [FILE]",
		Short: "Put records: a file of JSON events one a line, or one record",
		Long: "Put records to a stream: each line of FILE (newline-delimited JSON, gzip is recognized; - or nothing is\n" +
			"standard input) with --key, or one record with --partition-key and --data.",
		Example: "  shardmill stream put flights flights.ndjson.gz --key origin\n" +
			"  shardmill stream put flights --partition-key DFW --data '{\"delay\":12}'",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			single := cmd.Flags().Changed("partition-key") || cmd.Flags().Changed("data")
			switch {
			case single && (key != "" || len(args) == 2):
				return usagef("--partition-key and --data put one record; --key and FILE put many: use either")
			case single && !(cmd.Flags().Changed("partition-key") && cmd.Flags().Changed("data")):
				return usagef("one record needs both --partition-key and --data")
			case single:
				return a.putOne(cmd.Context(), client, args[0], partitionKey, data)
			case key == "":
				return usagef("--key is needed: the field, or JSON pointer, of each event that is its partition key")
			}
			file := "-"
			if len(args) == 2 {
				file = args[1]
			}
			answer, err := a.putEvents(cmd.Context(), client, args[0], file, key)
			if err != nil {
				return err
			}
			if err := a.printPut(answer); err != nil {
				return err
			}
			return putFailed(answer)
		},
	}
	c.Flags().StringVar(&key, "key", "", "field of each event that is its partition key, or a JSON pointer such as /flight/origin")
	c.Flags().StringVar(&partitionKey, "partition-key", "", "partition key of one record")
	c.Flags().StringVar(&data, "data", "", "data of one record, taken as it is")
	return c
}

func (a *app) putOne(ctx context.Context, client *api.Client, stream, key, data string) error {
	answer, err := client.Put(ctx, stream, []api.PutRecord{{PartitionKey: key, Data: []byte(data)}})
	if err != nil {
		return err
	}
	if len(answer.Results) != 1 {
		return errors.New("the host answered without a result for the record")
	}
	r := answer.Results[0]
	if r.Error != "" {
		return errors.New(r.Message)
	}
	return a.printFields(r, [2]string{"Shard", r.Shard}, [2]string{"Sequence number", r.Sequence.String()})
}

func (a *app) printPut(answer api.PutAnswer) error {
	if a.output == outputJSON {
		return a.printJSON(answer)
	}
	_, err := fmt.Fprintf(a.out, "%s put, %s refused\n", plural(answer.Put, "record", "records"), thousands(answer.Failed))
	return err
}

func newStreamTail(a *app) *cobra.Command {
	var q api.ReadOptions
	c := &cobra.Command{
		Use:   "tail NAME",
		Short: "Show records, and those to come until interrupted",
		Example: "  shardmill stream tail delays --output json\n" +
			"  shardmill stream tail flights --from oldest --limit 10 --follow=false",
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if q.Limit < 0 {
				return usagef("--limit is %d; it must be 0 (no limit) or more", q.Limit)
			}
			if q.From, err = tailFrom(q.From, time.Now()); err != nil {
				return err
			}
			return unlessInterrupted(cmd.Context(), a.tail(cmd.Context(), client, args[0], q))
		},
	}
	c.Flags().StringVar(&q.Shard, "shard", "", "one shard (default: all)")
	c.Flags().StringVar(&q.From, "from", "newest", tailForms)
	c.Flags().IntVar(&q.Limit, "limit", 0, "end after so many records (default: no limit)")
	c.Flags().BoolVarP(&q.Follow, "follow", "f", true, "wait for records to come")
	c.Flags().BoolVar(&q.Deaggregate, "deaggregate", false, "show the user records of KPL-aggregated records")
	return c
}

// tailForms are where stream tail can begin.
const tailForms = "oldest, newest, so long ago (15m), a time (2026-01-02T15:04:05Z), or with --shard a sequence number"

// tailFrom turns how long ago into a time; the other forms are the API's.
func tailFrom(from string, now time.Time) (string, error) {
	var ago api.Duration
	var sequence api.RecordNumber
	if from == "oldest" || from == "newest" || sequence.UnmarshalText([]byte(from)) == nil {
		return from, nil
	}
	if err := ago.UnmarshalText([]byte(from)); err == nil && ago >= 0 {
		return now.Add(-time.Duration(ago)).UTC().Format(time.RFC3339Nano), nil
	}
	if _, err := time.Parse(time.RFC3339Nano, from); err != nil {
		return "", usagef("%v", field.Invalid("--from", from, tailForms))
	}
	return from, nil
}

// tail shows records as they come. A shard that cannot be read on is told of; the others go on, and the failure is
// that of the whole in the end.
func (a *app) tail(ctx context.Context, client *api.Client, stream string, q api.ReadOptions) error {
	var failure error
	for r, err := range client.Records(ctx, stream, q) {
		switch {
		case err == nil:
			err = a.printRecord(r)
			if err != nil {
				return err
			}
		case r.Shard == "":
			return err
		case q.Follow:
			a.say("%s: %s", r.Shard, oneLine(err))
			fallthrough
		default:
			failure = fmt.Errorf("%s: %w", r.Shard, err)
		}
	}
	return failure
}

func (a *app) printRecord(r api.Record) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	sequence := r.Sequence.String()
	if r.SubSequence != nil {
		sequence += "." + strconv.Itoa(*r.SubSequence)
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s  %s  %s\n",
		clock(r.Arrival), r.Shard, sequence, printable(r.PartitionKey), recordText(&r))
	return err
}

// recordText is a record's data on one line that does no harm to a terminal.
func recordText(r *api.Record) string {
	if r.JSON == nil && r.Text == nil && len(r.Data) > 0 {
		return strconv.Quote(string(r.Data))
	}
	return printable(string(r.Bytes()))
}

func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// unlessInterrupted makes the end of something that is followed a success when it was asked for.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func joinOr(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}
