#include "lib/report/report_csv.h"

#include <doctest/doctest.h>

using namespace gca;

TEST_CASE("A row for each number that is known, names quoted as RFC 4180 says") {
  report::RunResults run;
  run.name = "a, \"b\"";
  run.path = "runs/a";
  run.seed = 7;
  run.train = {{.step = 1,
                .tokens = 100,
                .loss = 4.5,
                .seconds = 2,
                .tokens_per_second = 50,
                .spread = 0.5,
                .entropy = 1.5,
                .mean_distance = 64},
               {.step = 2, .tokens = 200}};
  run.valid = {{.step = 2,
                .tokens = 200,
                .loss = 4.25,
                .bits_per_byte = 2.5,
                .accuracy = 0.125,
                .task = "text",
                .reading = {1.0, 1.5, 2.0, 0.75}}};
  run.contexts = {{1024, "learned", 1.5, report::kUnknownNumber, 0.75, "books"}};
  run.positions = {{1024, "learned", 16, 32, 2.0, "books"}};
  run.recalls = {{"passkey", "none", 2048, report::kUnknownNumber, 8, 2},
                 {"passkey", "none", 2048, 0.5, 4, 3},
                 {"passkey", "none", 2048, 0.6, 0, 0}};
  run.speeds = {{"decoding", 512, 99}};
  const report::Comparison comparison = {{"batch"}, {{"a", {&run}, {"4"}}}};
  const std::string head = "\"a, \"\"b\"\"\",runs/a,batch 4,7,";
  CHECK(report::report_csv(comparison) ==
        "run,path,settings,seed,quantity,task,data,retriever,context,from,to,depth,step,tokens,seconds,"
        "trials,value\n" +
            head + "train_loss,,,,,,,,1,100,2,,4.5\n" +                  //
            head + "train_tokens_per_second,,,,,,,,1,100,2,,50\n" +      //
            head + "train_spread,,,,,,,,1,100,2,,0.5\n" +                //
            head + "train_entropy,,,,,,,,1,100,2,,1.5\n" +               //
            head + "train_mean_distance,,,,,,,,1,100,2,,64\n" +          //
            head + "valid_loss,text,,,,,,,2,200,,,4.25\n" +              //
            head + "valid_bits_per_byte,text,,,,,,,2,200,,,2.5\n" +      //
            head + "valid_accuracy,text,,,,,,,2,200,,,0.125\n" +         //
            head + "reading_spread,text,,,,,,,2,200,,,0.75\n" +          //
            head + "reading_loss,text,,learned,,,,,2,200,,,1\n" +        //
            head + "reading_loss,text,,random,,,,,2,200,,,1.5\n" +       //
            head + "reading_loss,text,,none,,,,,2,200,,,2\n" +           //
            head + "context_loss,,books,learned,1024,,,,,,,,1.5\n" +     //
            head + "bits_per_byte,,books,learned,1024,,,,,,,,0.75\n" +   //
            head + "position_loss,,books,learned,1024,16,32,,,,,,2\n" +  //
            head + "accuracy,passkey,,none,2048,,,,,,,8,0.25\n" +        //
            head + "accuracy,passkey,,none,2048,,,0.5,,,,4,0.75\n" +     //
            head + "benchmark_tokens_per_second,decoding,,,512,,,,,,,,99\n");
}
