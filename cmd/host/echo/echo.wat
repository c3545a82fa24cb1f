;; The function that `shardmill bench` deploys to a running host: it emits every record it is given, as it is, to the
;; stream that has the function's own name. sdk/abi.md is what it is written to; memory holds the call at 1024 and
;; the reply behind it.
;;
;; Built by `go generate ./cmd/host` (wat2wasm, from wabt).
(module
  (memory (export "memory") 1)

  (func (export "shardmill_abi_v1") (result i32) (i32.const 1))

  ;; Only stream batches.
  (func (export "shardmill_kinds") (result i32) (i32.const 2))

  ;; The call needs n bytes, the reply at most n more and its own headers.
  (func (export "shardmill_input") (param $n i32) (result i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub
        (i32.shr_u (i32.add (i32.mul (local.get $n) (i32.const 2)) (i32.const 69632)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
          (then (return (i32.const 0))))))
    (i32.const 1024))

  (func (export "shardmill_handle") (param $kind i32) (param $call i32) (param $len i32) (result i64)
    (local $reply i32) (local $section i32) (local $name i32) (local $nameLen i32) (local $namePad i32)
    (local $batch i32) (local $runLen i32) (local $sectionLen i32)
    (local.set $reply (i32.and (i32.add (i32.add (local.get $call) (local.get $len)) (i32.const 7)) (i32.const -8)))
    (local.set $section (i32.add (local.get $reply) (i32.const 40)))
    ;; The function's name stands behind those of the mapping and the stream.
    (local.set $name
      (i32.add (local.get $call)
        (i32.add (i32.load16_u offset=8 (local.get $call))
          (i32.add (i32.load16_u offset=10 (local.get $call)) (i32.load16_u offset=12 (local.get $call))))))
    (local.set $nameLen (i32.load16_u offset=14 (local.get $call)))
    (local.set $namePad (i32.and (i32.add (local.get $nameLen) (i32.const 7)) (i32.const -8)))
    (local.set $batch (i32.add (local.get $call) (i32.load offset=40 (local.get $call))))
    (local.set $runLen (i32.sub (i32.load offset=44 (local.get $call)) (i32.const 24)))
    (local.set $sectionLen (i32.add (i32.const 16) (i32.add (local.get $namePad) (local.get $runLen))))
    ;; Reply header.
    (memory.fill (local.get $reply) (i32.const 0) (i32.add (i32.const 56) (local.get $namePad)))
    (i32.store (local.get $reply) (i32.const 0x50524d53)) ;; "SMRP"
    (i32.store16 offset=4 (local.get $reply) (i32.const 1))
    (i32.store offset=8 (local.get $reply) (i32.add (i32.const 40) (local.get $sectionLen)))
    (i32.store offset=24 (local.get $reply) (i32.const 1))
    (i32.store offset=28 (local.get $reply) (local.get $sectionLen))
    ;; One output section: the stream's name and the records as they came.
    (i32.store (local.get $section) (local.get $sectionLen))
    (i32.store offset=4 (local.get $section) (i32.load offset=16 (local.get $batch)))
    (i32.store offset=8 (local.get $section) (local.get $runLen))
    (i32.store16 offset=12 (local.get $section) (local.get $nameLen))
    (memory.copy (i32.add (local.get $section) (i32.const 16)) (local.get $name) (local.get $nameLen))
    (memory.copy
      (i32.add (local.get $section) (i32.add (i32.const 16) (local.get $namePad)))
      (i32.add (local.get $batch) (i32.const 24))
      (local.get $runLen))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $reply)) (i64.const 32))
      (i64.extend_i32_u (i32.add (i32.const 40) (local.get $sectionLen))))))
