"""The queries of published vLLM dashboards, by dashboard and panel, with the variables of Grafana and Perses substituted:
the model "kjv", intervals and ranges of WINDOW, everything else unrestricted. `or vector(0)` is left out, because it
would hide that there is no data."""

from itertools import chain

WINDOW = "1m"

E2E = "vllm:e2e_request_latency_seconds"
TTFT = "vllm:time_to_first_token_seconds"
ITL = "vllm:inter_token_latency_seconds"
TPOT = "vllm:request_time_per_output_token_seconds"
QUEUE = "vllm:request_queue_time_seconds"
PREFILL = "vllm:request_prefill_time_seconds"
DECODE = "vllm:request_decode_time_seconds"
ITERATION = "vllm:iteration_tokens_total"
PROMPT_LENGTH = "vllm:request_prompt_tokens"
OUTPUT_LENGTH = "vllm:request_generation_tokens"
FINISHED = "vllm:request_success_total"
PROMPT = "vllm:prompt_tokens_total"
OUTPUT = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
BY_REASON = "vllm:num_requests_waiting_by_reason"
USAGE = "vllm:kv_cache_usage_perc"
PREEMPTIONS = "vllm:num_preemptions_total"
HITS, QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"
BY_SOURCE = "vllm:prompt_tokens_by_source_total"
DRAFTS = "vllm:spec_decode_num_drafts_total"
DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
PER_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
AWAKE = 'vllm:engine_sleep_state{job=~".+",model_name=~".+",instance=~".+",sleep_state="awake"}'


class Scope:
    """Expressions over series with some labels."""

    def __init__(self, labels="", by=""):
        self.labels = labels
        self.by = f" by ({by})" if by else ""  # of the sums within quantiles, besides le
        self.with_le = f" by (le, {by})" if by else " by (le)"

    def series(self, name, *labels):
        inside = ",".join(filter(None, [self.labels, *labels]))
        return name + (f"{{{inside}}}" if inside else "")

    def rate(self, name, *labels, window=WINDOW):
        return f"rate({self.series(name, *labels)}[{window}])"

    def total(self, name, *labels, window=WINDOW):
        return f"sum{self.by}({self.rate(name, *labels, window=window)})"

    def increase(self, name):
        return f"sum{self.by}(increase({self.series(name)}[{WINDOW}]))"

    def of(self, function, name, *labels):
        return f"{function}{self.by}({self.series(name, *labels)})"

    def quantile(self, q, histogram, window=WINDOW):
        return f"histogram_quantile({q}, sum{self.with_le}({self.rate(histogram + '_bucket', window=window)}))"

    def ratio(self, part, whole, *labels):
        return f"{self.total(part, *labels)} / ({self.total(whole)} > 0)"

    def mean(self, histogram):
        return self.ratio(histogram + "_sum", histogram + "_count")


def panels(title, *queries):
    return [(title, query) for query in queries]


def grafana(tpot):
    """examples/observability/prometheus_grafana/grafana.json, and production-stack's vllm-model-metrics-dashboard.json."""
    s = Scope('model_name="kjv"')

    def latency(histogram):
        return [*(s.quantile(q, histogram) for q in (0.99, 0.95, 0.9, 0.5)),
                f"{s.rate(histogram + '_sum')} / {s.rate(histogram + '_count')}"]

    lengths = Scope(s.labels, "le")
    return [
        *panels("E2E Request Latency", *latency(E2E)),
        *panels("Token Throughput", s.rate(PROMPT), s.rate(OUTPUT)),
        *panels("Inter Token Latency", *latency(ITL)),
        *panels("Time Per Output Token", *latency(tpot)),
        *panels("Scheduler State", s.series(RUNNING), s.series(WAITING)),
        *panels("Time To First Token Latency", *latency(TTFT)),
        *panels("Cache Utilization", s.series(USAGE)),
        *panels("Request Prompt Length", lengths.increase(PROMPT_LENGTH + "_bucket")),
        *panels("Request Generation Length", lengths.increase(OUTPUT_LENGTH + "_bucket")),
        *panels("Finish Reason", Scope(s.labels, "finished_reason").increase(FINISHED)),
        *panels("Queue Time", s.rate(QUEUE + "_sum")),
        *panels("Requests Prefill and Decode Time", s.rate(PREFILL + "_sum"), s.rate(DECODE + "_sum")),
        *panels("Max Generation Token in Sequence Group", s.rate("vllm:request_max_num_generation_tokens_sum")),
    ]


def query_statistics():
    s = Scope('model_name=~".+"')
    by_model = Scope(s.labels, "model_name")
    return [
        *panels("Successful Requests Over Time", by_model.total(FINISHED)),
        *panels("Requests Avg Rate", s.total(FINISHED)),
        *chain(*(panels(f"p{round(100 * q)} Latency", by_model.quantile(q, E2E)) for q in (0.5, 0.9, 0.99))),
        *panels("Input Token Size Distribution", f"sum by (le, model_name)({s.rate(PROMPT_LENGTH + '_bucket')})"),
        *chain(*(panels(f"Input Token Size p{round(100 * q)}", by_model.quantile(q, PROMPT_LENGTH))
                 for q in (0.5, 0.9, 0.99))),
        *panels("Input Token Size Avg", f"{s.total(PROMPT)} / {s.total(FINISHED)}"),
        *panels("Input Tokens Over Time", by_model.total(PROMPT)),
        *panels("Input Tokens/Sec Avg", s.total(PROMPT)),
        *panels("Output Tokens Over Time", by_model.total(OUTPUT)),
        *panels("Output Tokens/Sec Avg", s.total(OUTPUT)),
    ]


def performance_statistics(s):
    """Grafana's and Perses': the latter sums by model."""
    means = [(title, name, f"{s.total(name + '_sum')} / {s.total(name + '_count')}")
             for title, name in (("E2E Latency", E2E), ("TTFT", TTFT), ("ITL", ITL))]
    return [
        *chain(*(panels(f"{title} over Time", f"{s.rate(name + '_sum')} / {s.rate(name + '_count')}", mean)
                 for title, name, mean in means)),
        *chain(*(panels(f"{title} (Avg)", f"{s.increase(name + '_sum')} / {s.increase(name + '_count')}")
                 for title, name, _ in means)),
        *chain(*(panels(f"{title} (P{round(100 * q)})", s.quantile(q, name))
                 for title, name, _ in means for q in (0.5, 0.9, 0.99))),
        *panels("TPS (Tokens Per Second) over Time", s.rate(OUTPUT), s.rate(PROMPT), s.total(OUTPUT), s.total(PROMPT),
                s.rate(ITERATION + "_count")),
        *panels("Requests", *(f"sum{by} ({name})" for by in ("", " by (pod)") for name in (RUNNING, WAITING))),
    ]


def perses_query_statistics():
    s = Scope('namespace="test",service="outrider"')
    by_service, by_pod = Scope(s.labels, "service"), Scope(s.labels, "pod")
    by_model = Scope(s.labels + ',model_name=~".+"', "model_name")
    return [
        *panels("Running Requests", s.of("sum", RUNNING), by_service.of("sum", RUNNING), by_pod.of("sum", RUNNING)),
        *panels("Waiting Requests", s.of("sum", WAITING), by_service.of("sum", WAITING), by_pod.of("sum", WAITING)),
        *panels("KV Cache Usage", s.of("avg", USAGE), s.of("avg", USAGE) + " * 100", by_service.of("avg", USAGE) + " * 100",
                by_pod.of("avg", USAGE) + " * 100", f"100 * avg({USAGE})"),
        *panels("Scrape Targets Up", 'count(up{namespace="test",service="outrider"} == 1)'),
        *panels("Request Rate", by_model.total(FINISHED)),
        *chain(*(panels(f"p{round(100 * q)} Latency", by_model.quantile(q, E2E)) for q in (0.5, 0.9, 0.99))),
        *panels("Tokens / sec", by_model.total(PROMPT), by_model.total(OUTPUT)),
    ]


def latency(s, title, histogram):
    return panels(title, *(s.quantile(q, histogram) for q in (0.5, 0.95, 0.99)), s.mean(histogram))


def distribution(s, title, histogram):
    lengths = Scope(s.labels, "le")
    return panels(title, f"{lengths.increase(histogram + '_bucket')} / on () group_left () "
                         f"({s.increase(histogram + '_count')} > 0)")


def scheduler_queue(s):
    return panels("Scheduler queue", s.of("sum", RUNNING),
                  *(s.of("sum", BY_REASON, f'reason="{reason}"') for reason in ("capacity", "deferred")))


def prompt_tokens_by_source(s):
    return panels("Prompt tokens by source", *(s.total(BY_SOURCE, f'source="{source}"') for source in
                                               ("local_compute", "local_cache_hit", "external_kv_transfer")))


FLEET = 'job=~".+",model_name=~".+",instance=~".+"'
ENGINE = FLEET + ',engine=~".+"'
TARGET = 'job=~".+",instance=~".+"'


def overview():
    s, http = Scope(FLEET), Scope(TARGET)
    by_model = Scope(FLEET, "model_name")
    by_reason = Scope(FLEET, "finished_reason")
    return [
        *panels("Requests / s", s.total(FINISHED)),
        *panels("Input tok/s", s.total(PROMPT)),
        *panels("Output tok/s", s.total(OUTPUT)),
        *panels("5xx ratio", f"""({http.total("http_requests_total", 'status="5xx"')} or vector(0)) / """
                             f"""({http.total("http_requests_total")} > 0)"""),
        *panels("TTFT p95", s.quantile(0.95, TTFT)),
        *panels("ITL p95", s.quantile(0.95, ITL)),
        *panels("E2E p95", s.quantile(0.95, E2E)),
        *panels("Unreachable", 'count(up{job=~".+"} == 0) or vector(0)'),
        *panels("Engines", s.of("count", RUNNING)),
        *panels("Running", s.of("sum", RUNNING)),
        *panels("Waiting", s.of("sum", WAITING)),
        *panels("KV cache", s.of("max", USAGE)),
        *panels("Preemptions", s.total(PREEMPTIONS)),
        *panels("Prefix hits", s.ratio(HITS, QUERIES)),
        *panels("TTFT SLO", s.ratio(TTFT + "_bucket", TTFT + "_count", 'le="1.0"')),
        *panels("TPOT SLO", s.ratio(TPOT + "_bucket", TPOT + "_count", 'le="0.1"')),
        *panels("Per-model summary",
                f"count by (model_name) (group by (model_name, instance) (last_over_time({s.series(RUNNING)}[{WINDOW}])))",
                by_model.total(FINISHED), by_model.total(OUTPUT),
                *(by_model.quantile(0.95, name) for name in (TTFT, ITL, E2E)),
                by_model.ratio(FINISHED, FINISHED, 'finished_reason="error"'),
                f"max by (model_name) (max_over_time({s.series(USAGE)}[{WINDOW}]))",
                f"round({by_model.increase(PREEMPTIONS)})"),
        *latency(s, "Time to first token (TTFT)", TTFT),
        *latency(s, "Inter-token latency (ITL)", ITL),
        *latency(s, "Time per output token (TPOT)", TPOT),
        *latency(s, "End-to-end latency", E2E),
        *latency(s, "Queue time", QUEUE),
        *panels("Mean time per request phase", *(s.mean(name) for name in (QUEUE, PREFILL, DECODE))),
        *chain(*(panels(title, f"sum by (le) ({s.rate(name + '_bucket')})") for title, name in
                 (("TTFT distribution", TTFT), ("Inter-token latency distribution", ITL),
                  ("End-to-end latency distribution", E2E)))),
        *panels("Token throughput", by_model.total(PROMPT), by_model.total(OUTPUT)),
        *panels("Finished requests by reason", by_reason.total(FINISHED)),
        *scheduler_queue(s),
        *panels("KV cache usage", *(s.of(function, USAGE) for function in ("max", "avg", "min"))),
        *panels("Tokens per engine step", s.quantile(0.5, ITERATION), s.quantile(0.99, ITERATION), s.mean(ITERATION)),
        *panels("Cache hit rates", s.ratio(HITS, QUERIES)),
        *prompt_tokens_by_source(s),
        *latency(s, "Prompt length", PROMPT_LENGTH),
        *latency(s, "Output length", OUTPUT_LENGTH),
        *panels("Finish reason share", f"{by_reason.total(FINISHED)} / ignoring (finished_reason) group_left () "
                                       f"({s.total(FINISHED)} > 0)"),
        *distribution(s, "Prompt length distribution", PROMPT_LENGTH),
        *distribution(s, "Output length distribution", OUTPUT_LENGTH),
        *panels("HTTP requests by status", Scope(TARGET, "status").total("http_requests_total")),
        *panels("HTTP requests by endpoint", Scope(TARGET, "handler").total("http_requests_total")),
        *panels("HTTP mean duration by endpoint", Scope(TARGET, "handler").mean("http_request_duration_seconds")),
    ]


def instances():
    s, process = Scope(ENGINE), Scope(TARGET, "instance")
    by_instance, by_engine = Scope(ENGINE, "model_name, instance"), Scope(ENGINE, "instance, engine")
    alone = Scope(ENGINE, "instance")
    return [
        *panels("Instances", by_instance.of("count", RUNNING), by_instance.of("sum", RUNNING),
                by_instance.of("sum", WAITING), by_instance.of("max", USAGE),
                *(by_instance.total(name, window="5m") for name in (FINISHED, OUTPUT, PREEMPTIONS)),
                *(by_instance.quantile(0.95, name, window="5m") for name in (TTFT, ITL)),
                f"max by (model_name, instance) ((time() - {process.series('process_start_time_seconds')}) "
                f"* on (job, instance) group_left (model_name) group by (job, instance, model_name) ({s.series(RUNNING)}))"),
        *panels("Running requests", by_engine.of("sum", RUNNING)),
        *panels("Waiting requests", by_engine.of("sum", WAITING)),
        *panels("KV cache usage", by_engine.of("max", USAGE)),
        *panels("Requests / s", alone.total(FINISHED)),
        *panels("Input tokens / s", by_engine.total(PROMPT)),
        *panels("Output tokens / s", by_engine.total(OUTPUT)),
        *panels("TTFT p95", alone.quantile(0.95, TTFT)),
        *panels("Inter-token latency p95", alone.quantile(0.95, ITL)),
        *panels("E2E latency p95", alone.quantile(0.95, E2E)),
        *panels("Mean queue time", alone.mean(QUEUE)),
        *panels("Engine steps / s", by_engine.total(ITERATION + "_count")),
        *panels("Mean tokens per engine step", by_engine.mean(ITERATION)),
        *panels("Preemptions / s", by_engine.total(PREEMPTIONS)),
        *panels("Waiting requests by reason", Scope(ENGINE, "instance, engine, reason").of("sum", BY_REASON)),
        *panels("Prefix cache hit rate", by_engine.ratio(HITS, QUERIES)),
        *panels("CPU usage", process.total("process_cpu_seconds_total")),
        *panels("Resident memory", process.of("sum", "process_resident_memory_bytes")),
        *panels("Open file descriptors", f"{process.of('sum', 'process_open_fds')} / {process.of('sum', 'process_max_fds')}"),
        *panels("Cache configuration", process.series("vllm:cache_config_info", 'engine=~".+"')),
        *panels("Engine sleep state",
                f"""(1 - {by_engine.of("max", "vllm:engine_sleep_state", 'sleep_state="awake"')}) * """
                f"""(1 + {by_engine.of("max", "vllm:engine_sleep_state", 'sleep_state="discard_all"')})"""),
    ]


def kv_cache():
    s, by_engine = Scope(ENGINE), Scope(ENGINE, "instance, engine")
    return [
        *panels("KV cache usage", s.of("max", USAGE), s.of("avg", USAGE), by_engine.of("max", USAGE)),
        *panels("Prefix cache hit rate", s.ratio(HITS, QUERIES), by_engine.ratio(HITS, QUERIES)),
        *panels("Cached prompt tokens", s.ratio("vllm:prompt_tokens_cached_total", PROMPT)),
        *panels("Preemptions / s", s.total(PREEMPTIONS), by_engine.total(PREEMPTIONS)),
        *panels("Waiting for capacity", s.of("sum", BY_REASON, 'reason="capacity"')),
        *scheduler_queue(s),
        *prompt_tokens_by_source(s),
        *panels("Cached prompt tokens by tier", Scope(ENGINE, "source").total("vllm:prompt_tokens_cached_by_source_total")),
        *panels("Prompt and computed tokens per request", s.mean(PROMPT_LENGTH),
                s.mean("vllm:request_prefill_kv_computed_tokens")),
        *panels("Prompt tokens loaded via KV transfer", s.total(BY_SOURCE, 'source="external_kv_transfer"')),
    ]


def speculative_decoding():
    s, by_model, by_engine = Scope(ENGINE), Scope(ENGINE, "model_name"), Scope(ENGINE, "instance, engine")
    return [
        *panels("Draft acceptance rate", *(each.ratio(ACCEPTED, DRAFTED) for each in (s, by_model, by_engine))),
        *panels("Acceptance length", *("1 + " + each.ratio(ACCEPTED, DRAFTS) for each in (s, by_model))),
        *panels("Output from drafts", s.ratio(ACCEPTED, OUTPUT)),
        *panels("Drafts / s", s.total(DRAFTS)),
        *panels("Draft tokens / s", s.total(DRAFTED), s.total(ACCEPTED), f"{s.total(DRAFTED)} - {s.total(ACCEPTED)}"),
        *panels("Acceptance rate by draft position",
                f"{Scope(ENGINE, 'position').total(PER_POSITION)} / on () group_left () ({s.total(DRAFTS)} > 0)"),
        *latency(s, "Inter-token latency", ITL),
    ]


def service_status():
    s = Scope(FLEET)
    present = f"and on () count({s.series(RUNNING)})"
    errors = s.total(FINISHED, 'finished_reason="error"', window="5m")
    finished = s.total(FINISHED, window="5m")
    running = f"(sum(avg_over_time({s.series(RUNNING)}[5m])) > 0)"
    return [
        *panels("Status", f"2 - (max({AWAKE}) == bool 0)"),
        *panels("Response time", f"({s.quantile(0.5, TTFT, window='5m')}) {present}"),
        *panels("Output speed", f"({s.total(OUTPUT, window='5m')} / {running}) {present}"),
        *panels("Success rate", f"(1 - ({errors} / ({finished} > 0))) {present}"),
        *panels("Requests / min", f"(60 * {finished}) {present}"),
    ]


def production_stack():
    return [
        *panels("Average Latency", f"avg({E2E}_sum) / avg({E2E}_count)"),
        *panels("Request latency distribution", f"sum by(le) ({E2E}_bucket)"),
        *panels("Average ITL", f"avg({TPOT}_sum) / avg({TPOT}_count)",
                "avg(vllm:time_per_output_token_seconds_sum) / avg(vllm:time_per_output_token_seconds_count)"),
        *panels("Request TTFT distribution", f"sum by(le) ({TTFT}_bucket)"),
        *panels("Number of Running Requests", RUNNING),
        *panels("Number of Pending Requests", WAITING),
        *panels("GPU KV Usage Percentage", USAGE),
        *panels("Average time to first token", f"{TTFT}_sum / {TTFT}_count"),
    ]


DASHBOARDS = {
    "vLLM: prometheus_grafana": grafana(TPOT),
    "vLLM: Grafana query_statistics": query_statistics(),
    "vLLM: Grafana performance_statistics": performance_statistics(Scope()),
    "vLLM: Perses query_statistics": perses_query_statistics(),
    "vLLM: Perses performance_statistics": performance_statistics(Scope('model_name=~".+"', "model_name")),
    "vLLM / Overview": overview(),
    "vLLM / Instances": instances(),
    "vLLM / KV Cache": kv_cache(),
    "vLLM / Speculative Decoding": speculative_decoding(),
    "vLLM / Service Status": service_status(),
    "production-stack: vllm-dashboard": production_stack(),
    "production-stack: model metrics": grafana("vllm:time_per_output_token_seconds"),
}

# Panels without data here; docs/metrics.md says why.
WITHOUT_DATA = [
    "vllm:external_prefix_cache_hits_total", "vllm:mm_cache_hits_total", "vllm:lora_requests_info",
    "vllm:sleep_mode_operation_duration_seconds_count", "vllm:rl_weight_update_operation_duration_seconds_count",
    "vllm:estimated_flops_per_gpu_total", "vllm:kv_block_lifetime_seconds_bucket", "vllm:num_requests_kv_fetch_by_stage",
    "vllm:nixl_xfer_time_seconds_count", "vllm:kv_offload_load_bytes_total", "vllm:simple_kv_offload_used_blocks",
    "vllm:gpu_cache_usage_perc", "vllm:cpu_cache_usage_perc", "vllm:gpu_prefix_cache_hits_total", "vllm:num_requests_swapped",
    "vllm:healthy_pods_total", "vllm:current_qps", "router_cpu_usage_percent", "router_memory_usage_percent",
    "router_disk_usage_percent", "lmcache:num_hit_tokens_total",
]
