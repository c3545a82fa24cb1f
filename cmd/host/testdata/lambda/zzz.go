package main

func init() { order = append(order, "last init") } // in a file behind which hardly any name comes
