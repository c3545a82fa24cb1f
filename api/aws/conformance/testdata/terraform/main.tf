# What a team has that moves its Lambda consumer of a Kinesis stream: every resource of the two services that such a project
# has, and nearly every setting of a mapping of a stream.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}

# Where Kinesis and Lambda are is in AWS_ENDPOINT_URL_KINESIS and AWS_ENDPOINT_URL_LAMBDA.
provider "aws" {
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variable "zip" { type = string }
variable "timeout" { type = number }
variable "batch_size" { type = number }
variable "enabled" { type = bool }

resource "aws_kinesis_stream" "orders" {
  name                      = "orders"
  shard_count               = 2
  retention_period          = 48
  shard_level_metrics       = ["IncomingBytes", "OutgoingRecords"]
  enforce_consumer_deletion = true
  tags                      = { team = "red" }
}

resource "aws_kinesis_stream" "failed" {
  name = "failed"
  stream_mode_details { stream_mode = "ON_DEMAND" }
}

resource "aws_kinesis_stream" "done" {
  name        = "done"
  shard_count = 1
}

resource "aws_kinesis_stream_consumer" "fan" {
  name       = "fan"
  stream_arn = aws_kinesis_stream.orders.arn
}

resource "aws_lambda_function" "consumer" {
  function_name                  = "consumer"
  description                    = "Consumes the orders."
  role                           = "arn:aws:iam::000000000000:role/lambda"
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = ["arm64"]
  filename                       = var.zip
  source_code_hash               = filebase64sha256(var.zip)
  timeout                        = var.timeout
  memory_size                    = 256
  publish                        = true
  reserved_concurrent_executions = 5
  environment { variables = { LEVEL = "debug" } }
  dead_letter_config { target_arn = aws_kinesis_stream.failed.arn }
  ephemeral_storage { size = 512 }
  tracing_config { mode = "PassThrough" }
  tags = { team = "red" }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "what serves"
  function_name    = aws_lambda_function.consumer.function_name
  function_version = aws_lambda_function.consumer.version
}

resource "aws_lambda_function_event_invoke_config" "live" {
  function_name                = aws_lambda_function.consumer.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = var.batch_size * 6
  destination_config {
    on_failure { destination = aws_kinesis_stream.failed.arn }
    on_success { destination = aws_kinesis_stream.done.arn }
  }
}

resource "aws_lambda_function_event_invoke_config" "latest" {
  function_name          = aws_lambda_function.consumer.function_name
  maximum_retry_attempts = 1
}

resource "aws_lambda_permission" "bucket" {
  statement_id   = "bucket"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.consumer.function_name
  qualifier      = aws_lambda_alias.live.name
  principal      = "s3.amazonaws.com"
  source_account = "000000000000"
  source_arn     = "arn:aws:s3:::orders"
}

resource "aws_lambda_permission" "account" {
  action             = "lambda:InvokeFunction"
  function_name      = aws_lambda_function.consumer.function_name
  principal          = "123456789012"
  principal_org_id   = "o-1234567890"
  event_source_token = "token"
}

resource "aws_lambda_event_source_mapping" "orders" {
  event_source_arn                   = aws_kinesis_stream.orders.arn
  function_name                      = aws_lambda_alias.live.arn
  starting_position                  = "TRIM_HORIZON"
  enabled                            = var.enabled
  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = 1
  parallelization_factor             = 2
  bisect_batch_on_function_error     = true
  maximum_retry_attempts             = 1
  maximum_record_age_in_seconds      = 600
  function_response_types            = ["ReportBatchItemFailures"]
  filter_criteria {
    filter { pattern = jsonencode({ data = { n = [{ numeric = [">", 0] }] } }) }
    filter { pattern = jsonencode({ partitionKey = ["vip"] }) }
  }
  destination_config {
    on_failure { destination_arn = aws_kinesis_stream.failed.arn }
  }
  metrics_config { metrics = ["EventCount"] }
  tags = { team = "red" }
}

resource "aws_lambda_event_source_mapping" "fan" {
  event_source_arn            = aws_kinesis_stream_consumer.fan.arn
  function_name               = aws_lambda_function.consumer.arn
  starting_position           = "AT_TIMESTAMP"
  starting_position_timestamp = "2026-01-01T00:00:00Z"
  tumbling_window_in_seconds  = 1
}
