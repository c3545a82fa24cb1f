package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

func newFunctionCosts(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "costs NAME",
		Short: "Show how many instructions a function's calls and records take, and which keys and records take most",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			costs, err := client.Costs(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printCosts(costs)
		},
	}
}

func (a *app) printCosts(c api.FunctionCosts) error {
	fields := [][2]string{
		{"Calls", thousands(int64(c.Calls))},
		{"Records", thousands(int64(c.Records))},
		{"Fuel", thousands(c.Fuel)},
		{"Fuel per call", thousands(c.FuelPerCall)},
	}
	if c.Records > 0 {
		fields = append(fields, [2]string{"Fuel per record", thousands(c.FuelPerRecord)})
	}
	err := a.printFields(c, fields...)
	if err != nil || a.output == outputJSON {
		return err
	}
	if len(c.Keys) > 0 {
		t := newTable("KEY", "SHARE>", "SAMPLED FUEL>")
		for _, k := range c.Keys {
			t.add(printable(k.Key), fmt.Sprintf("%.1f%%", 100*k.Share), thousands(k.Fuel))
		}
		fmt.Fprintln(a.out)
		if err := t.write(a.out); err != nil {
			return err
		}
	}
	if len(c.Heaviest) == 0 {
		return nil
	}
	t := newTable("RECORD", "SHARD", "KEY", "FUEL>", "INVOCATION")
	for _, r := range c.Heaviest {
		t.add(r.Sequence.String(), r.Stream+" "+r.Shard, printable(r.Key), "> "+thousands(r.Fuel), r.Invocation)
	}
	fmt.Fprintln(a.out)
	return t.write(a.out)
}
