;; What makes a function of the JavaScript engine: the exports of sdk/abi.md, over the engine's C API (quickjs.h of QuickJS-NG), of which
;; it imports what it calls. link.go puts it into the engine's module; it runs on the engine's memory and table.
;;
;; A JSValue is an i64 with the tag in its upper half: 0 is an integer, 3 undefined, 6 an exception that is pending. Arguments
;; are borrowed, results are the caller's to free. $scratch is 160 bytes for arguments and results that go through memory; the eight behind
;; them say which record is worked on, and eight more where the guest was when it was interrupted.
;;
;; Built by `go generate ./runtime/quickjs` (wat2wasm, from wabt).
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))

  (import "shardmill" "result" (func $result (param i32 i32) (result i32)))
  (import "shardmill" "secret" (func $secret (param i32 i32) (result i64)))
  (import "shardmill" "state_get" (func $state_get (param i32 i32 i32 i32) (result i64)))
  (import "shardmill" "state_put" (func $state_put (param i32 i32 i32 i32 i32 i32 i64) (result i64)))
  (import "shardmill" "state_delete" (func $state_delete (param i32 i32 i32 i32 i64) (result i64)))
  (import "shardmill" "state_list" (func $state_list (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
  (import "shardmill" "http_fetch" (func $http_fetch (param i32 i32) (result i64)))

  (import "engine" "_initialize" (func $engine_initialize))
  (import "engine" "malloc" (func $malloc (param i32) (result i32)))
  (import "engine" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "engine" "free" (func $free (param i32)))
  (import "engine" "qjs_init" (func $qjs_init (result i32)))
  (import "engine" "qjs_get_context_ptr" (func $qjs_get_context_ptr (result i32)))
  (import "engine" "qjs_get_runtime_ptr" (func $qjs_get_runtime_ptr (result i32)))
  (import "engine" "qjs_set_max_stack_size" (func $qjs_set_max_stack_size (param i32)))
  (import "engine" "qjs_set_promise_rejection_handler" (func $qjs_set_promise_rejection_handler (param i32)))
  (import "engine" "JS_SetGCThreshold" (func $JS_SetGCThreshold (param i32 i32)))
  (import "engine" "qjs_set_interrupt_handler" (func $qjs_set_interrupt_handler (param i32)))
  (import "engine" "qjs_free_value" (func $qjs_free_value (param i32)))
  (import "engine" "JS_Eval" (func $JS_Eval (param i32 i32 i32 i32 i32) (result i64)))
  (import "engine" "JS_Call" (func $JS_Call (param i32 i64 i64 i32 i32) (result i64)))
  (import "engine" "JS_DupValue" (func $JS_DupValue (param i32 i64) (result i64)))
  (import "engine" "JS_FreeValue" (func $JS_FreeValue (param i32 i64)))
  (import "engine" "JS_ThrowOutOfMemory" (func $JS_ThrowOutOfMemory (param i32) (result i64)))
  (import "engine" "JS_GetException" (func $JS_GetException (param i32) (result i64)))
  (import "engine" "JS_ExecutePendingJob" (func $JS_ExecutePendingJob (param i32 i32) (result i32)))
  (import "engine" "JS_NewArray" (func $JS_NewArray (param i32) (result i64)))
  (import "engine" "JS_GetPropertyUint32" (func $JS_GetPropertyUint32 (param i32 i64 i32) (result i64)))
  (import "engine" "JS_SetPropertyUint32" (func $JS_SetPropertyUint32 (param i32 i64 i32 i64) (result i32)))
  (import "engine" "JS_NewCFunction2" (func $JS_NewCFunction2 (param i32 i32 i32 i32 i32 i32) (result i64)))
  (import "engine" "JS_NewStringLen" (func $JS_NewStringLen (param i32 i32 i32) (result i64)))
  (import "engine" "JS_ToCStringLen2" (func $JS_ToCStringLen2 (param i32 i32 i64 i32) (result i32)))
  (import "engine" "JS_FreeCString" (func $JS_FreeCString (param i32 i32)))
  (import "engine" "JS_ParseJSON" (func $JS_ParseJSON (param i32 i32 i32 i32) (result i64)))
  (import "engine" "JS_GetUint8Array" (func $JS_GetUint8Array (param i32 i32 i64) (result i32)))
  (import "engine" "JS_NewArrayBuffer" (func $JS_NewArrayBuffer (param i32 i32 i32 i32 i32 i32 i32) (result i64)))
  (import "engine" "JS_DetachArrayBuffer" (func $JS_DetachArrayBuffer (param i32 i64)))
  (import "engine" "memory" (memory 1))
  ;; Where in the engine's table the natives stand.
  (import "glue" "first_native" (global $firstNative i32))

  (global $context (mut i32) (i32.const 0))
  (global $runtime (mut i32) (i32.const 0))
  (global $scratch (mut i32) (i32.const 0))
  (global $sourceMap (mut i32) (i32.const 0))
  (global $sourceMapLen (mut i32) (i32.const 0))
  (global $kinds (mut i32) (i32.const 0))
  (global $report (mut i64) (i64.const 12884901888))
  (global $handle (mut i64) (i64.const 12884901888))
  (global $resume (mut i64) (i64.const 12884901888))
  (global $rejected (mut i64) (i64.const 12884901888))
  (global $interrupted (mut i64) (i64.const 12884901888))
  (global $where (mut i64) (i64.const 12884901888))
  (global $stop (mut i32) (i32.const 0))        ;; the host asks where the script is
  (global $input (mut i32) (i32.const 0))       ;; the input area, and JavaScript's view of it
  (global $inputSize (mut i32) (i32.const 0))
  (global $inputBuffer (mut i64) (i64.const 12884901888))
  (global $reply (mut i32) (i32.const 0))       ;; the reply arena, likewise
  (global $replySize (mut i32) (i32.const 0))
  (global $replyBuffer (mut i64) (i64.const 12884901888))

  ;; The natives that sdk/js/runtime.js is given, in its order.
  (table 18 funcref)
  (elem (i32.const 0) $input_buffer $reply_buffer $text $json $bytes_text $put $put_bytes $put_input $write $random $wait $source_map
    $give_up $host $host_result $environ $mark_buffer $tell)

  ;; _initialize starts the engine and reads stdin, which has three texts, each as its length, the text, and a zero byte: the runtime, the
  ;; function's script, its source map. The runtime's value is a function from the natives to [report, begin, handle, resume, rejected,
  ;; interrupted, where].
  (func (export "_initialize")
    (local $in i32) (local $length i32) (local $value i64) (local $parts i64)
    (call $engine_initialize)
    (if (call $qjs_init) (then (unreachable)))
    (global.set $context (call $qjs_get_context_ptr))
    (global.set $runtime (call $qjs_get_runtime_ptr))
    (call $qjs_set_max_stack_size (i32.const 524288)) ;; half of the stack that the engine was linked with
    ;; This is before anything of the function's is read, so that shardmill_record is the same place in all instances.
    (global.set $scratch (call $allocate (i32.const 176)))
    (memory.fill (global.get $scratch) (i32.const 0) (i32.const 176))
    (local.set $in (call $read_all))

    (local.set $length (i32.load (local.get $in)))
    (local.set $value ;; named "runtime"
      (call $evaluate (i32.add (local.get $in) (i32.const 4)) (local.get $length) (i64.const 0x00656d69746e7572)))
    (i64.store (global.get $scratch) (call $natives))
    (local.set $parts (call $apply (local.get $value) (i32.const 1)))
    (global.set $report (call $part (local.get $parts) (i32.const 0)))
    (global.set $handle (call $part (local.get $parts) (i32.const 2)))
    (global.set $resume (call $part (local.get $parts) (i32.const 3)))
    (global.set $rejected (call $part (local.get $parts) (i32.const 4)))
    (global.set $interrupted (call $part (local.get $parts) (i32.const 5)))
    (global.set $where (call $part (local.get $parts) (i32.const 6)))
    (call $qjs_set_promise_rejection_handler (i32.const 1))
    (call $qjs_set_interrupt_handler (i32.const 1))

    (local.set $in (i32.add (local.get $in) (i32.add (local.get $length) (i32.const 5))))
    (local.set $length (i32.load (local.get $in)))
    (global.set $sourceMap (i32.add (local.get $in) (i32.add (local.get $length) (i32.const 9))))
    (global.set $sourceMapLen (i32.load (i32.sub (global.get $sourceMap) (i32.const 4))))
    (local.set $value ;; named "script"
      (call $evaluate (i32.add (local.get $in) (i32.const 4)) (local.get $length) (i64.const 0x0000747069726373)))
    (i64.store (global.get $scratch) (local.get $value))
    (global.set $kinds (i32.wrap_i64 (call $apply (call $part (local.get $parts) (i32.const 1)) (i32.const 1)))))

  ;; What the engine imports of its embedder, of which nothing is used but the time zone (dates are in UTC) and what follows it.
  (func (export "host_get_timezone_offset") (param i32 i32) (result i32) (i32.const 0))
  ;; A promise was rejected that nobody waits for, or, when handled is not 0, somebody waits for one of those after all. The two are
  ;; pointers to values, and ours to free.
  (func (export "host_promise_rejection") (param $promise i32) (param $reason i32) (param $handled i32)
    (i64.store offset=128 (global.get $scratch) (i64.load (local.get $promise)))
    (i64.store offset=136 (global.get $scratch) (i64.load (local.get $reason)))
    (i64.store offset=144 (global.get $scratch) (i64.extend_i32_u (local.get $handled)))
    (drop
      (call $checked
        (call $JS_Call (global.get $context) (global.get $rejected) (i64.const 12884901888) (i32.const 3)
          (i32.add (global.get $scratch) (i32.const 128)))))
    (call $qjs_free_value (local.get $promise))
    (call $qjs_free_value (local.get $reason)))
  ;; The engine asks at every 10,000th call and jump back whether it is to throw its error that nothing catches, or at the next where its counter says so.
  ;; $interrupted tells the host the stack, which ends the instance, or has that error's told as soon as there is one. Where it says 0, nothing of the
  ;; script is on the stack, and the next call or jump back may be a better place.
  (func (export "host_interrupt") (result i32)
    (local $value i64)
    (if (i32.eqz (global.get $stop)) (then (return (i32.const 0))))
    (global.set $stop (i32.const 0))
    (local.set $value
      (call $JS_Call (global.get $context) (global.get $interrupted) (i64.const 12884901888) (i32.const 0) (global.get $scratch)))
    (if (i64.eqz (local.get $value)) (then (drop (call $interrupt)) (return (i32.const 0))))
    (if (i64.eq (i64.shr_u (local.get $value) (i64.const 32)) (i64.const 6))
      (then (call $JS_FreeValue (global.get $context) (call $JS_GetException (global.get $context)))))
    (i32.const 1))
  (func (export "host_module_normalize") (param i32 i32) (result i32) (i32.const 0))
  (func (export "host_module_load") (param i32 i32) (result i32) (i32.const 0))
  (func (export "host_call") (param i32 i32 i32 i32 i32) (result i32) (i32.const 0))

  (func (export "shardmill_abi_v1") (result i32) (i32.const 1))

  (func (export "shardmill_kinds") (result i32) (global.get $kinds))

  ;; shardmill_interrupt may be called while the engine runs, by the host from within one of its functions: the script is stopped at its next call
  ;; or jump back. The result is where in memory its stack will be told, as an address and a length; 0 while there is no script. From then on no
  ;; garbage is collected, which takes longer than there is time left.
  (func $interrupt (export "shardmill_interrupt") (result i32)
    (if (i64.eq (global.get $interrupted) (i64.const 12884901888)) (then (return (i32.const 0))))
    (global.set $stop (i32.const 1))
    (call $JS_SetGCThreshold (global.get $runtime) (i32.const -1))
    (i32.store offset=292 (global.get $context) (i32.const 0)) ;; JSContext.interrupt_counter
    (i32.add (global.get $scratch) (i32.const 168)))

  ;; shardmill_where may be called likewise, where the engine does not come to a call or jump back, and nothing of the instance after it: the engine may be
  ;; in anything. The stack is told from there.
  (func (export "shardmill_where")
    (drop (call $JS_Call (global.get $context) (global.get $where) (i64.const 12884901888) (i32.const 0) (global.get $scratch))))

  (func $marked (export "shardmill_record") (result i32) (i32.add (global.get $scratch) (i32.const 160)))

  ;; The input area has a byte more than is asked for, because JS_ParseJSON wants a zero behind its text.
  (func (export "shardmill_input") (param $size i32) (result i32)
    (if (i32.gt_u (local.get $size) (global.get $inputSize))
      (then
        (call $release (global.get $inputBuffer))
        (global.set $inputBuffer (i64.const 12884901888))
        (global.set $inputSize (i32.const 0))
        (call $free (global.get $input))
        (global.set $input (i32.const 0))
        (if (i32.gt_u (local.get $size) (i32.const 0x7fff0000)) (then (return (i32.const 0))))
        (local.set $size (call $rounded (local.get $size)))
        (global.set $input (call $malloc (i32.add (local.get $size) (i32.const 8))))
        (if (i32.eqz (global.get $input)) (then (return (i32.const 0))))
        (global.set $inputSize (local.get $size))
        (global.set $inputBuffer (call $buffer (global.get $input) (local.get $size)))))
    (global.get $input))

  ;; handle and resume answer with the length of the reply, or -1 while the handler's promise is not settled.
  (func (export "shardmill_handle") (param $kind i32) (param $call i32) (param $length i32) (result i64)
    (local $value i64) (local $ran i32)
    (i64.store (global.get $scratch) (i64.extend_i32_u (local.get $kind)))
    (i64.store offset=8 (global.get $scratch) (i64.extend_i32_u (local.get $length)))
    (local.set $value (call $apply (global.get $handle) (i32.const 2)))
    (loop $pending (result i64)
      (if (i32.ge_s (i32.wrap_i64 (local.get $value)) (i32.const 0))
        (then
          (return
            (i64.or
              (i64.shl (i64.extend_i32_u (global.get $reply)) (i64.const 32))
              (i64.extend_i32_u (i32.wrap_i64 (local.get $value)))))))
      (loop $jobs
        (local.set $ran (call $JS_ExecutePendingJob (global.get $runtime) (i32.add (global.get $scratch) (i32.const 120))))
        (if (i32.lt_s (local.get $ran) (i32.const 0))
          (then (call $JS_FreeValue (global.get $context) (call $JS_GetException (global.get $context)))))
        (br_if $jobs (local.get $ran)))
      (local.set $value (call $apply (global.get $resume) (i32.const 0)))
      (br $pending)))

  ;; ---- calls of the engine ----

  ;; apply calls a function with the arguments in scratch. An exception ends the instance: the runtime has caught what it could.
  (func $apply (param $function i64) (param $count i32) (result i64)
    (call $checked
      (call $JS_Call (global.get $context) (local.get $function) (i64.const 12884901888) (local.get $count) (global.get $scratch))))

  (func $evaluate (param $text i32) (param $length i32) (param $name i64) (result i64)
    (i64.store offset=112 (global.get $scratch) (local.get $name))
    (call $checked
      (call $JS_Eval (global.get $context) (local.get $text) (local.get $length)
        (i32.add (global.get $scratch) (i32.const 112)) (i32.const 0))))

  (func $part (param $array i64) (param $index i32) (result i64)
    (call $checked (call $JS_GetPropertyUint32 (global.get $context) (local.get $array) (local.get $index))))

  ;; checked is the value, unless it is an exception: then the instance ends, with the reason on stderr.
  (func $checked (param $value i64) (result i64)
    (local $exception i64)
    (if (i64.ne (i64.shr_u (local.get $value) (i64.const 32)) (i64.const 6)) (then (return (local.get $value))))
    (local.set $exception (call $JS_GetException (global.get $context)))
    (i64.store (global.get $scratch) (local.get $exception))
    (if (i64.eq (global.get $report) (i64.const 12884901888))
      (then (call $write_value (i32.const 2) (local.get $exception)))
      (else
        (drop
          (call $JS_Call (global.get $context) (global.get $report) (i64.const 12884901888) (i32.const 1) (global.get $scratch)))))
    (unreachable))

  ;; natives is an array of the functions that stand in the table from $firstNative on.
  (func $natives (result i64)
    (local $array i64) (local $i i32)
    (local.set $array (call $checked (call $JS_NewArray (global.get $context))))
    (i64.store offset=112 (global.get $scratch) (i64.const 0)) ;; an empty name
    (loop $next
      (drop
        (call $JS_SetPropertyUint32 (global.get $context) (local.get $array) (local.get $i)
          (call $checked
            (call $JS_NewCFunction2 (global.get $context) (i32.add (global.get $firstNative) (local.get $i))
              (i32.add (global.get $scratch) (i32.const 112)) (i32.const 3) (i32.const 0) (i32.const 0)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 18))))
    (local.get $array))

  ;; ---- memory ----

  (func $allocate (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (call $malloc (local.get $size)))
    (if (i32.eqz (local.get $at)) (then (unreachable)))
    (local.get $at))

  ;; rounded is size and a half more, in whole pages, so that areas grow seldom.
  (func $rounded (param $size i32) (result i32)
    (i32.and
      (i32.add (i32.add (local.get $size) (i32.shr_u (local.get $size) (i32.const 1))) (i32.const 65535))
      (i32.const -65536)))

  ;; buffer is an ArrayBuffer that is a view of memory which it does not own.
  (func $buffer (param $at i32) (param $size i32) (result i64)
    (call $checked
      (call $JS_NewArrayBuffer (global.get $context) (local.get $at) (local.get $size)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))

  ;; release makes a view useless before its memory is: whoever has kept it sees it empty.
  (func $release (param $buffer i64)
    (if (i64.ne (local.get $buffer) (i64.const 12884901888))
      (then
        (call $JS_DetachArrayBuffer (global.get $context) (local.get $buffer))
        (call $JS_FreeValue (global.get $context) (local.get $buffer)))))

  ;; reserve makes the reply arena at least so large, and is 0 when there is no memory for it.
  (func $reserve (param $size i32) (result i32)
    (local $at i32)
    (if (i32.le_u (local.get $size) (global.get $replySize)) (then (return (i32.const 1))))
    (if (i32.gt_u (local.get $size) (i32.const 0x40000000)) (then (return (i32.const 0))))
    (local.set $size (call $rounded (local.get $size)))
    (call $release (global.get $replyBuffer))
    (global.set $replyBuffer (i64.const 12884901888))
    (local.set $at (call $realloc (global.get $reply) (local.get $size)))
    (if (i32.eqz (local.get $at)) (then (global.set $replySize (i32.const 0)) (return (i32.const 0))))
    (global.set $reply (local.get $at))
    (global.set $replySize (local.get $size))
    (global.set $replyBuffer (call $buffer (local.get $at) (local.get $size)))
    (i32.const 1))

  ;; read_all reads stdin to its end.
  (func $read_all (result i32)
    (local $at i32) (local $size i32) (local $length i32) (local $n i32)
    (local.set $size (i32.const 262144))
    (local.set $at (call $allocate (local.get $size)))
    (loop $more
      (if (i32.eq (local.get $length) (local.get $size))
        (then
          (local.set $size (i32.shl (local.get $size) (i32.const 1)))
          (local.set $at (call $realloc (local.get $at) (local.get $size)))
          (if (i32.eqz (local.get $at)) (then (unreachable)))))
      (i32.store (global.get $scratch) (i32.add (local.get $at) (local.get $length)))
      (i32.store offset=4 (global.get $scratch) (i32.sub (local.get $size) (local.get $length)))
      (if (call $fd_read (i32.const 0) (global.get $scratch) (i32.const 1) (i32.add (global.get $scratch) (i32.const 8)))
        (then (unreachable)))
      (local.set $n (i32.load offset=8 (global.get $scratch)))
      (local.set $length (i32.add (local.get $length) (local.get $n)))
      (br_if $more (local.get $n)))
    (local.get $at))

  ;; ---- natives: a JSCFunction each ----

  ;; inputBuffer() is the view of the input area.
  (func $input_buffer (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $JS_DupValue (local.get $c) (global.get $inputBuffer)))

  ;; tell(text) ends the instance, after it was interrupted.
  (func $tell (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (i32.store offset=168 (global.get $scratch)
      (call $JS_ToCStringLen2 (local.get $c) (i32.add (global.get $scratch) (i32.const 172)) (i64.load (local.get $args)) (i32.const 0)))
    (unreachable))

  ;; markBuffer() is the view of the four bytes that say which record is worked on, and of four more: how many walks are under way, which say it.
  (func $mark_buffer (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $buffer (call $marked) (i32.const 8)))

  ;; mark notes the third argument, the position of the record that is read, from 1, unless a walk is under way. One that is left out is 0.
  (func $mark (param $args i32)
    (local $record i32)
    (local.set $record (i32.load offset=16 (local.get $args)))
    (if (i32.eqz (i32.load offset=4 (call $marked)))
      (then (if (local.get $record) (then (i32.store (call $marked) (local.get $record)))))))

  ;; replyBuffer(size) is the view of the reply arena, which is made as large as that.
  (func $reply_buffer (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (if (i32.eqz (call $reserve (i32.load (local.get $args)))) (then (return (call $JS_ThrowOutOfMemory (local.get $c)))))
    (call $JS_DupValue (local.get $c) (global.get $replyBuffer)))

  ;; text(at, length, record) is UTF-8 in the input area.
  (func $text (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $mark (local.get $args))
    (call $JS_NewStringLen (local.get $c)
      (i32.add (global.get $input) (i32.load (local.get $args))) (i32.load offset=8 (local.get $args))))

  ;; json(at, length, record) is the value of JSON in the input area.
  (func $json (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $at i32) (local $end i32) (local $behind i32) (local $value i64)
    (call $mark (local.get $args))
    (local.set $at (i32.add (global.get $input) (i32.load (local.get $args))))
    (local.set $end (i32.add (local.get $at) (i32.load offset=8 (local.get $args))))
    (local.set $behind (i32.load8_u (local.get $end)))
    (i32.store8 (local.get $end) (i32.const 0))
    (i64.store offset=112 (global.get $scratch) (i64.const 0x0000000061746164)) ;; named "data"
    (local.set $value
      (call $JS_ParseJSON (local.get $c) (local.get $at) (i32.sub (local.get $end) (local.get $at))
        (i32.add (global.get $scratch) (i32.const 112))))
    (i32.store8 (local.get $end) (local.get $behind))
    (local.get $value))

  ;; bytesText(bytes) is the UTF-8 in a Uint8Array that is not empty.
  (func $bytes_text (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $at i32)
    (local.set $at (call $JS_GetUint8Array (local.get $c) (global.get $scratch) (i64.load (local.get $args))))
    (if (i32.eqz (local.get $at)) (then (return (i64.const 25769803776))))
    (call $JS_NewStringLen (local.get $c) (local.get $at) (i32.load (global.get $scratch))))

  ;; append puts bytes at an offset of the reply arena, with eight zero bytes behind them, and returns how many.
  (func $append (param $c i32) (param $from i32) (param $length i32) (param $at i32) (result i64)
    (if (i32.eqz (call $reserve (i32.add (i32.add (local.get $at) (local.get $length)) (i32.const 8))))
      (then (return (call $JS_ThrowOutOfMemory (local.get $c)))))
    (local.set $at (i32.add (global.get $reply) (local.get $at)))
    (memory.copy (local.get $at) (local.get $from) (local.get $length))
    (i64.store (i32.add (local.get $at) (local.get $length)) (i64.const 0))
    (i64.extend_i32_u (local.get $length)))

  ;; put(string, at) appends a string as UTF-8.
  (func $put (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $from i32) (local $result i64)
    (local.set $from (call $JS_ToCStringLen2 (local.get $c) (global.get $scratch) (i64.load (local.get $args)) (i32.const 0)))
    (if (i32.eqz (local.get $from)) (then (return (i64.const 25769803776))))
    (local.set $result
      (call $append (local.get $c) (local.get $from) (i32.load (global.get $scratch)) (i32.load offset=8 (local.get $args))))
    (call $JS_FreeCString (local.get $c) (local.get $from))
    (local.get $result))

  ;; putBytes(bytes, at) appends a Uint8Array that is not empty.
  (func $put_bytes (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $from i32)
    (local.set $from (call $JS_GetUint8Array (local.get $c) (global.get $scratch) (i64.load (local.get $args))))
    (if (i32.eqz (local.get $from)) (then (return (i64.const 25769803776))))
    (call $append (local.get $c) (local.get $from) (i32.load (global.get $scratch)) (i32.load offset=8 (local.get $args))))

  ;; putInput(from, length, at) appends bytes of the input area.
  (func $put_input (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $append (local.get $c) (i32.add (global.get $input) (i32.load (local.get $args)))
      (i32.load offset=8 (local.get $args)) (i32.load offset=16 (local.get $args))))

  ;; write(file, string) writes to stdout (1) or stderr (2).
  (func $write (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $write_value (i32.load (local.get $args)) (i64.load offset=8 (local.get $args)))
    (i64.const 12884901888))

  (func $write_value (param $file i32) (param $value i64)
    (local $text i32)
    (local.set $text (call $JS_ToCStringLen2 (global.get $context) (i32.add (global.get $scratch) (i32.const 4)) (local.get $value) (i32.const 0)))
    (if (i32.eqz (local.get $text)) (then (return)))
    (i32.store (global.get $scratch) (local.get $text))
    (drop (call $fd_write (local.get $file) (global.get $scratch) (i32.const 1) (i32.add (global.get $scratch) (i32.const 8))))
    (call $JS_FreeCString (global.get $context) (local.get $text)))

  ;; random(bytes) fills a Uint8Array that is not empty with random numbers of the host.
  (func $random (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $at i32)
    (local.set $at (call $JS_GetUint8Array (local.get $c) (global.get $scratch) (i64.load (local.get $args))))
    (if (i32.eqz (local.get $at)) (then (return (i64.const 25769803776))))
    (if (call $random_get (local.get $at) (i32.load (global.get $scratch))) (then (unreachable)))
    (i64.const 12884901888))

  ;; wait(milliseconds) lets time pass: poll_oneoff with one subscription to the monotonic clock.
  (func $wait (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (memory.fill (global.get $scratch) (i32.const 0) (i32.const 48))
    (i32.store offset=16 (global.get $scratch) (i32.const 1))
    (i64.store offset=24 (global.get $scratch)
      (i64.mul (i64.extend_i32_u (i32.load (local.get $args))) (i64.const 1000000)))
    (drop
      (call $poll_oneoff (global.get $scratch) (i32.add (global.get $scratch) (i32.const 48)) (i32.const 1)
        (i32.add (global.get $scratch) (i32.const 80))))
    (i64.const 12884901888))

  ;; sourceMap() is the text of the script's source map.
  (func $source_map (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (call $JS_NewStringLen (local.get $c) (global.get $sourceMap) (global.get $sourceMapLen)))

  ;; giveUp() ends the instance.
  (func $give_up (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (unreachable))

  ;; host(function) calls a function of the host (sdk/abi.md, section 6), which its number says. The arguments stand at the beginning of the
  ;; reply arena, in its order: 4 bytes each, a ptr being an offset in the arena, and the revision that is expected at 32. The answer, 8 bytes,
  ;; takes their place.
  (func $host (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $at i32) (local $answer i64)
    (local.set $at (global.get $reply))
    (block $done
      (block $fetch
        (block $list
          (block $delete
            (block $put
              (block $get
                (block $secret
                  (br_table $secret $get $put $delete $list $fetch (i32.load (local.get $args))))
                (local.set $answer (call $secret (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at))))
                (br $done))
              (local.set $answer
                (call $state_get (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at))
                  (call $pointer (i32.const 8)) (i32.load offset=12 (local.get $at))))
              (br $done))
            (local.set $answer
              (call $state_put (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at))
                (call $pointer (i32.const 8)) (i32.load offset=12 (local.get $at))
                (call $pointer (i32.const 16)) (i32.load offset=20 (local.get $at)) (i64.load offset=32 (local.get $at))))
            (br $done))
          (local.set $answer
            (call $state_delete (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at))
              (call $pointer (i32.const 8)) (i32.load offset=12 (local.get $at)) (i64.load offset=32 (local.get $at))))
          (br $done))
        (local.set $answer
          (call $state_list (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at))
            (call $pointer (i32.const 8)) (i32.load offset=12 (local.get $at))
            (call $pointer (i32.const 16)) (i32.load offset=20 (local.get $at)) (i32.const 0)))
        (br $done))
      (local.set $answer (call $http_fetch (call $pointer (i32.const 0)) (i32.load offset=4 (local.get $at)))))
    (i64.store (local.get $at) (local.get $answer))
    (i64.const 12884901888))

  ;; pointer is the argument at an offset of the arena, which is an offset itself.
  (func $pointer (param $offset i32) (result i32)
    (i32.add (global.get $reply) (i32.load (i32.add (global.get $reply) (local.get $offset)))))

  ;; hostResult(length) puts what the host gave at the beginning of the reply arena, which has room for it, and is how many bytes it has.
  (func $host_result (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (i64.extend_i32_u (call $result (global.get $reply) (i32.load (local.get $args)))))

  ;; environ() is the environment variables, NAME=VALUE each with a zero byte behind it.
  (func $environ (param $c i32) (param $this i64) (param $n i32) (param $args i32) (result i64)
    (local $size i32)
    (drop (call $environ_sizes_get (global.get $scratch) (i32.add (global.get $scratch) (i32.const 4))))
    (local.set $size (i32.load offset=4 (global.get $scratch)))
    (if (i32.eqz (call $reserve (i32.add (local.get $size) (i32.shl (i32.load (global.get $scratch)) (i32.const 2)))))
      (then (return (call $JS_ThrowOutOfMemory (local.get $c)))))
    (drop (call $environ_get (i32.add (global.get $reply) (local.get $size)) (global.get $reply)))
    (call $JS_NewStringLen (local.get $c) (global.get $reply) (local.get $size)))
)
