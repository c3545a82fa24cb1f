/** What the host calls: every function's entry file exports all of it. */

export { shardmill_abi_v1, shardmill_handle, shardmill_input, shardmill_kinds, shardmill_record } from "./assembly/guest";
