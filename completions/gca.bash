# bash completion for gca. Written by `gca help --format bash`.

_gca_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

_gca_more_words() {
    local more
    mapfile -t more < <(compgen -W "$1" -- "$current")
    COMPREPLY+=("${more[@]}")
}

# Words separated by commas: the last is completed, those before it stay.
_gca_list() {
    local before=
    [[ $current == *,* ]] && before=${current%,*},
    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$1" -- "${current##*,}")
}

_gca_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

_gca_settings() {
    compopt -o nospace 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -S = -W "$gca_settings" -- "$current")
}

_gca() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' word
    # bash takes --flag=value for three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]] && ((COMP_CWORD >= 2)); then
        previous=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $word == -* ]] || { command=$word; break; }
    done
    COMPREPLY=()
    local gca_settings='vocab_size landmark_token_id hidden_size num_attention_heads intermediate_size num_lower_layers num_upper_layers sliding_window chunk_size self_attention long_range rms_norm_eps alibi_slopes initializer_range output_initializer_scale num_key_value_heads retrieval_groups upper_group_layers num_encoder_layers chunk_top_k retriever softmax_off_by_one residual_blend gumbel_scale encoder_rms_norm_eps rope_theta landmark_local_size landmark_selection landmark_positions memory_size segment_size memory_layers local_context_size memory_top_k codebook_size tensor_fold upper_alibi_slopes recurrent_heads recurrent_state_size recurrent_conv_size recurrent_rank position head_dim attention_bias mlp_bias tie_word_embeddings max_position_embeddings rope_type rope_factor rope_original_max_position_embeddings rope_low_freq_factor rope_high_freq_factor rope_beta_fast rope_beta_slow rope_truncate rope_attention_factor learning_rate min_learning_rate schedule decay_fraction decay_steps warmup_fraction warmup_steps schedule_steps learning_rate_factor_embedding learning_rate_factor_lower learning_rate_factor_encoder learning_rate_factor_memory learning_rate_factor_upper adam_beta1 adam_beta2 adam_epsilon weight_decay gradient_clip batch gradient_accumulation context recompute_activations start_up gumbel_noise weight_rounding group_dropout retrieval_dropout residual_blend_start residual_blend_begin residual_blend_end bptt_segments crossbatch_contexts crossbatch_stepping codebook_straight_through commitment_weight codebook_decay codebook_revival eval_interval eval_sequences checkpoint_interval checkpoint_minutes diagnostics_interval keep_checkpoints keep_best copy_chunks copy_shifted needle_value_tokens needle_key_tokens needle_distractors needle_hops needle_questions needle_text_targets recall_chunks'
    case $command in
        tokenize)
            case $previous in
                --output) _gca_files -d; return ;;
                --tokenizer) _gca_files -f; return ;;
                --train-vocab) :; return ;;
                --tokenizer-type) _gca_words 'bpe unigram'; return ;;
                --decode) _gca_files -d; return ;;
                --input-format) _gca_words 'auto jsonl text'; return ;;
                --text-key) :; return ;;
                --invalid-utf8) _gca_words 'error replace keep'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
                --timeout) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --output --tokenizer --train-vocab --tokenizer-type --end-tokens --print-ids --decode --input-format --text-key --skip-bad --invalid-utf8 --report --json --quiet --threads --seed --timeout'; else _gca_files -f; fi
            ;;
        chunk)
            case $previous in
                --tokens) _gca_files -d; return ;;
                --output) _gca_files -d; return ;;
                --chunk-size) :; return ;;
                --context) :; return ;;
                --valid-fraction) :; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            _gca_words '--help -h --tokens --output --chunk-size --context --valid-fraction --join-documents --report --json --quiet --threads --seed'
            ;;
        pretrain)
            case $previous in
                --data) _gca_files -d; return ;;
                --valid) _gca_files -d; return ;;
                --config) _gca_files -f; _gca_more_words 'nano mini small 128m 350m'; return ;;
                --set) _gca_settings; return ;;
                --output) _gca_files -d; return ;;
                --steps) :; return ;;
                --tokens) :; return ;;
                --minutes) :; return ;;
                --stop-at) :; return ;;
                --batch) :; return ;;
                --context-parallel) :; return ;;
                --cp-scheme) _gca_words 'gather zigzag ring'; return ;;
                --init) _gca_files -d; return ;;
                --branch) _gca_files -d; return ;;
                --change) _gca_settings; return ;;
                --keep) :; return ;;
                --start-up) :; return ;;
                --task) _gca_words 'text self-copy passkey multikey multihop number recall'; return ;;
                --phases) _gca_files -f; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
                --timeout) :; return ;;
                --device) _gca_words 'cpu cuda'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
            esac
            _gca_words '--help -h --data --valid --config --set --output --steps --tokens --minutes --stop-at --batch --context-parallel --cp-scheme --resume --init --branch --change --keep --start-up --overwrite --task --phases --peak --profile --tensorboard --print-config --dry-run --report --json --quiet --threads --seed --timeout --device --dtype'
            ;;
        eval)
            case $previous in
                --checkpoint) _gca_files -d; return ;;
                --device) _gca_words 'cpu cuda'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
                --weight-dtype) _gca_words 'auto int8'; return ;;
                --data) _gca_files -d; return ;;
                --task) _gca_words 'perplexity passkey multikey multihop number recall'; return ;;
                --split) _gca_words 'auto train valid'; return ;;
                --context) :; return ;;
                --retriever) _gca_list 'learned random recent none'; return ;;
                --max-tokens) :; return ;;
                --stride) :; return ;;
                --token-losses) _gca_files -f; return ;;
                --segment) :; return ;;
                --trials) :; return ;;
                --haystacks) :; return ;;
                --value-tokens) :; return ;;
                --key-tokens) :; return ;;
                --distractors) :; return ;;
                --hops) :; return ;;
                --passage-chunks) :; return ;;
                --kv-policy) _gca_list 'full window sink squeezed recycled citrus'; return ;;
                --answer-tokens) :; return ;;
                --question-tokens) :; return ;;
                --kv-window) :; return ;;
                --kv-sinks) :; return ;;
                --squeezed-sinks) :; return ;;
                --squeezed-clusters) :; return ;;
                --squeezed-quantile) :; return ;;
                --squeezed-observed) :; return ;;
                --squeezed-coarse-clusters) :; return ;;
                --squeezed-coarse-quantile) :; return ;;
                --recycled-rows) :; return ;;
                --recycled-stride) :; return ;;
                --recycled-similarity) :; return ;;
                --recycled-pool) :; return ;;
                --citrus) _gca_words 'single dual standard'; return ;;
                --citrus-chunk) :; return ;;
                --citrus-kept) :; return ;;
                --kv-dtype) _gca_words 'auto fp32 bf16 int8'; return ;;
                --memory) :; return ;;
                --memory-dtype) _gca_words 'bf16 fp32 int8'; return ;;
                --input-format) _gca_words 'auto jsonl text'; return ;;
                --text-key) :; return ;;
                --invalid-utf8) _gca_words 'error replace keep'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
                --timeout) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --checkpoint --device --dtype --weight-dtype --data --task --split --context --retriever --max-tokens --stride --token-losses --segment --trials --haystacks --value-tokens --key-tokens --distractors --hops --passage-chunks --full-prefill --kv-policy --answer-tokens --question-tokens --kv-window --kv-sinks --squeezed-sinks --squeezed-clusters --squeezed-quantile --squeezed-observed --squeezed-coarse-clusters --squeezed-coarse-quantile --recycled-rows --recycled-stride --recycled-similarity --recycled-pool --citrus --citrus-chunk --citrus-kept --kv-dtype --memory --memory-dtype --input-format --text-key --skip-bad --invalid-utf8 --report --json --quiet --threads --seed --timeout'; else _gca_files -f; fi
            ;;
        generate)
            case $previous in
                --checkpoint) _gca_files -d; return ;;
                --device) _gca_words 'cpu cuda'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
                --weight-dtype) _gca_words 'auto int8'; return ;;
                --prompt) :; return ;;
                --prompt-file) _gca_files -f; return ;;
                --prompts) _gca_files -f; return ;;
                --samples) :; return ;;
                --max-new-tokens) :; return ;;
                --temperature) :; return ;;
                --top-k) :; return ;;
                --top-p) :; return ;;
                --stop) :; return ;;
                --segment) :; return ;;
                --memory) :; return ;;
                --memory-dtype) _gca_words 'bf16 fp32 int8'; return ;;
                --save-memory) _gca_files -d; return ;;
                --load-memory) _gca_files -d; return ;;
                --kv-policy) _gca_words 'full window sink squeezed recycled citrus'; return ;;
                --kv-window) :; return ;;
                --kv-sinks) :; return ;;
                --squeezed-sinks) :; return ;;
                --squeezed-clusters) :; return ;;
                --squeezed-quantile) :; return ;;
                --squeezed-observed) :; return ;;
                --squeezed-coarse-clusters) :; return ;;
                --squeezed-coarse-quantile) :; return ;;
                --recycled-rows) :; return ;;
                --recycled-stride) :; return ;;
                --recycled-similarity) :; return ;;
                --recycled-pool) :; return ;;
                --citrus) _gca_words 'single dual standard'; return ;;
                --citrus-chunk) :; return ;;
                --citrus-kept) :; return ;;
                --prefix-tokens) :; return ;;
                --prefix-cache) _gca_files -f; return ;;
                --instruction-tokens) :; return ;;
                --instruction-file) _gca_files -f; return ;;
                --kv-dtype) _gca_words 'auto fp32 bf16 int8'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            _gca_words '--help -h --checkpoint --device --dtype --weight-dtype --prompt --prompt-file --prompts --samples --max-new-tokens --temperature --top-k --top-p --stop --segment --memory --memory-dtype --save-memory --load-memory --profile --kv-policy --kv-window --kv-sinks --squeezed-sinks --squeezed-clusters --squeezed-quantile --squeezed-observed --squeezed-coarse-clusters --squeezed-coarse-quantile --recycled-rows --recycled-stride --recycled-similarity --recycled-pool --citrus --citrus-chunk --citrus-kept --prefix-tokens --prefix-cache --instruction-tokens --instruction-file --kv-dtype --report --json --quiet --threads --seed'
            ;;
        inspect-retrieval)
            case $previous in
                --checkpoint) _gca_files -d; return ;;
                --device) _gca_words 'cpu cuda'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
                --prompt) :; return ;;
                --prompt-file) _gca_files -f; return ;;
                --chunk) :; return ;;
                --load-memory) _gca_files -d; return ;;
                --html) _gca_files -f; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            _gca_words '--help -h --checkpoint --device --dtype --prompt --prompt-file --chunk --load-memory --html --ascii --report --json --quiet --threads --seed'
            ;;
        memory)
            case $previous in
                --output) _gca_files -d; return ;;
                --checkpoint | --model) _gca_files -d; return ;;
                --memory-dtype) _gca_words 'bf16 fp32 int8'; return ;;
                --segment) :; return ;;
                --device) _gca_words 'cpu cuda'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
                --input-format) _gca_words 'auto jsonl text'; return ;;
                --text-key) :; return ;;
                --invalid-utf8) _gca_words 'error replace keep'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
                --timeout) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --output --checkpoint --model --memory-dtype --segment --device --dtype --input-format --text-key --skip-bad --invalid-utf8 --report --json --quiet --threads --seed --timeout'; else _gca_words 'build join info'; fi
            ;;
        bench)
            case $previous in
                --config) _gca_files -f; _gca_more_words 'nano mini small 128m 350m'; return ;;
                --set) _gca_settings; return ;;
                --checkpoint) _gca_files -d; return ;;
                --context) :; return ;;
                --mode) _gca_list 'training prefill scoring decoding'; return ;;
                --batch) :; return ;;
                --repeats) :; return ;;
                --decode-tokens) :; return ;;
                --isa) :; return ;;
                --memory) :; return ;;
                --memory-dtype) _gca_words 'bf16 fp32 int8'; return ;;
                --kv-policy) _gca_list 'full window sink squeezed recycled citrus'; return ;;
                --question-tokens) :; return ;;
                --kv-window) :; return ;;
                --kv-sinks) :; return ;;
                --squeezed-sinks) :; return ;;
                --squeezed-clusters) :; return ;;
                --squeezed-quantile) :; return ;;
                --squeezed-observed) :; return ;;
                --squeezed-coarse-clusters) :; return ;;
                --squeezed-coarse-quantile) :; return ;;
                --recycled-rows) :; return ;;
                --recycled-stride) :; return ;;
                --recycled-similarity) :; return ;;
                --recycled-pool) :; return ;;
                --citrus) _gca_words 'single dual standard'; return ;;
                --citrus-chunk) :; return ;;
                --citrus-kept) :; return ;;
                --kv-dtype) _gca_words 'auto fp32 bf16 int8'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
                --device) _gca_words 'cpu'; return ;;
                --dtype) _gca_words 'auto bf16 fp32'; return ;;
                --weight-dtype) _gca_words 'auto int8'; return ;;
            esac
            _gca_words '--help -h --config --set --checkpoint --context --mode --batch --repeats --decode-tokens --peak --no-peak --isa --profile --memory --memory-dtype --kv-policy --question-tokens --kv-window --kv-sinks --squeezed-sinks --squeezed-clusters --squeezed-quantile --squeezed-observed --squeezed-coarse-clusters --squeezed-coarse-quantile --recycled-rows --recycled-stride --recycled-similarity --recycled-pool --citrus --citrus-chunk --citrus-kept --kv-dtype --report --json --quiet --threads --seed --device --dtype --weight-dtype'
            ;;
        import)
            case $previous in
                --output) _gca_files -d; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --output --report --json --quiet --threads --seed'; else _gca_files -f; fi
            ;;
        export)
            case $previous in
                --output) _gca_files -d; return ;;
                --dtype) _gca_words 'fp32 bf16'; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --output --dtype --report --json --quiet --threads --seed'; else _gca_files -d; fi
            ;;
        convert)
            case $previous in
                --output) _gca_files -d; return ;;
                --recur-fraction) :; return ;;
                --calibrate) _gca_files -d; return ;;
                --context) :; return ;;
                --max-tokens) :; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --output --recur-fraction --calibrate --context --max-tokens --report --json --quiet --threads --seed'; else _gca_files -d; fi
            ;;
        report)
            case $previous in
                --label) :; return ;;
                --html) _gca_files -f; return ;;
                --csv) _gca_files -f; return ;;
                --report) _gca_files -f; return ;;
                --threads) :; return ;;
                --seed) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --label --html --csv --report --json --quiet --threads --seed'; else _gca_files -f; fi
            ;;
        launch)
            case $previous in
                --ranks | -n) :; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --ranks -n'; else :; fi
            ;;
        help)
            case $previous in
                --format) _gca_words 'text man bash zsh fish'; return ;;
            esac
            if [[ $current == -* ]]; then _gca_words '--help -h --format'; else _gca_words 'tokenize chunk pretrain eval generate inspect-retrieval memory bench import export convert report launch help'; fi
            ;;
        *) _gca_words 'tokenize chunk pretrain eval generate inspect-retrieval memory bench import export convert report launch help --help --version' ;;
    esac
}

complete -F _gca gca
