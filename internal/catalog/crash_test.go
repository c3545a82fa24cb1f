package catalog

const crashEnv = "SHARDMILL_CATALOG_CRASH_DIR"

func crashChild(string) {}
